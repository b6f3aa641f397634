"""The database itself refuses to change these rows."""

from django.db import migrations

from apps.core.triggers import immutable


class Migration(migrations.Migration):
    dependencies = [("registry", "0001_initial")]

    operations = [
        immutable("registry_modelversion"),
        immutable("registry_assumption"),
    ]
