from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("payouts", "0014_webhooks_given_up_in_a_row")]

    operations = [
        migrations.AddField(
            model_name="webhookendpoint",
            name="acknowledged_at",
            field=models.DateTimeField(
                blank=True, null=True, help_text="Somebody knows of what was given up until then."
            ),
        ),
    ]
