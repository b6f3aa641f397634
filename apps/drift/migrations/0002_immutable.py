"""The database itself refuses to change these rows."""

from django.db import migrations

from apps.core.triggers import immutable


class Migration(migrations.Migration):
    dependencies = [("drift", "0001_initial")]

    operations = [
        immutable("drift_comparison"),
        immutable("drift_metricresult"),
        immutable("drift_examplepair"),
        immutable("drift_approvalbaseline"),
        immutable("drift_brokenassumption"),
    ]
