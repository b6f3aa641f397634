from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("evaluations", "0007_scoring_revisions_and_reviews")]

    operations = [
        migrations.AddField(
            model_name="run",
            name="asked_at",
            field=models.CharField(
                blank=True,
                help_text="API style and base URL that its answers come from.",
                max_length=700,
            ),
        ),
    ]
