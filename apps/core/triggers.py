"""Migration helpers: rows that the design calls immutable are kept so by the database."""

from django.db import migrations

FUNCTION = """
CREATE OR REPLACE FUNCTION govtrack_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% on % refused: its rows are immutable', TG_OP, TG_TABLE_NAME
    USING ERRCODE = 'restrict_violation';
END $$;
"""


def immutable(table: str, *, allow_delete: bool = False) -> migrations.RunSQL:
    """Refuse UPDATE, DELETE and TRUNCATE on `table` (DELETE allowed where a draft may go)."""
    ops = "UPDATE" if allow_delete else "UPDATE OR DELETE"
    up = FUNCTION + (
        f'CREATE TRIGGER {table}_immutable BEFORE {ops} ON "{table}" '
        "FOR EACH ROW EXECUTE FUNCTION govtrack_refuse_change();"
    )
    down = f'DROP TRIGGER {table}_immutable ON "{table}";'
    if not allow_delete:
        up += (
            f'CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON "{table}" '
            "FOR EACH STATEMENT EXECUTE FUNCTION govtrack_refuse_change();"
        )
        down += f'DROP TRIGGER {table}_no_truncate ON "{table}";'
    return migrations.RunSQL(up, down)
