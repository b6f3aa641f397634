"""Note each new entry by trigger, so that the sequencer need not search the whole log."""

import django.db.models.deletion
from django.db import migrations, models

NOTE = """
CREATE FUNCTION govtrack_note_pending() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO audit_auditpending (event_id) VALUES (NEW.id);
  RETURN NULL;
END $$;
CREATE TRIGGER audit_auditevent_pending AFTER INSERT ON audit_auditevent
  FOR EACH ROW EXECUTE FUNCTION govtrack_note_pending();
INSERT INTO audit_auditpending (event_id)
  SELECT e.id FROM audit_auditevent e
  WHERE NOT EXISTS (SELECT 1 FROM audit_auditleaf l WHERE l.event_id = e.id);
"""
FORGET = """
DROP TRIGGER audit_auditevent_pending ON audit_auditevent;
DROP FUNCTION govtrack_note_pending();
"""


class Migration(migrations.Migration):
    dependencies = [("audit", "0002_immutable")]

    operations = [
        migrations.CreateModel(
            name="AuditPending",
            fields=[
                (
                    "event",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="audit.auditevent",
                    ),
                ),
            ],
        ),
        migrations.RunSQL(NOTE, FORGET),
    ]
