"""Monthly partitions of samples and scores."""

from __future__ import annotations

import datetime as dt

from django.db import connection, transaction

PARTITION_LOCK = 0x6774_7061  # pg_advisory_xact_lock key
TABLES = ("evaluations_sample", "evaluations_score")


def ensure_month(month: dt.date) -> None:
    """Create the partitions of `month` (its first day) where missing. Safe to call at once
    from many processes; call it before the run's own transaction."""
    start = month.replace(day=1)
    end = (start + dt.timedelta(days=32)).replace(day=1)
    names = [f"{table}_{start:%Y_%m}" for table in TABLES]
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s), to_regclass(%s)", names)
        if all(cursor.fetchone()):
            return
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [PARTITION_LOCK])
        for table, name in zip(TABLES, names, strict=True):
            cursor.execute(
                f'CREATE TABLE IF NOT EXISTS "{name}" PARTITION OF "{table}" '
                f"FOR VALUES FROM ('{start}') TO ('{end}')"
            )
            # Row triggers are inherited from the parent, statement triggers (TRUNCATE) are not.
            cursor.execute(
                f'CREATE OR REPLACE TRIGGER "{name}_no_truncate" BEFORE TRUNCATE ON "{name}" '
                "FOR EACH STATEMENT EXECUTE FUNCTION govtrack_refuse_change()"
            )
