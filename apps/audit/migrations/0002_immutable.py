"""The database itself refuses to change these rows."""

from django.db import migrations

from apps.core.triggers import immutable


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_initial")]

    operations = [
        immutable("audit_auditevent"),
        immutable("audit_auditleaf"),
        immutable("audit_audithead"),
    ]
