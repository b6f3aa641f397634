"""The database itself refuses to change these rows."""

from django.db import migrations

from apps.core.triggers import immutable


class Migration(migrations.Migration):
    dependencies = [("tickets", "0001_initial")]

    operations = [
        immutable("tickets_controlpolicy"),
        immutable("tickets_comment"),
        immutable("tickets_ticketapproval"),
    ]
