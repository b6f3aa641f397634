import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("evaluations", "0003_spending_urgency_schedules")]

    operations = [
        migrations.AlterField(
            model_name="shard",
            name="not_before",
            field=models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
        ),
    ]
