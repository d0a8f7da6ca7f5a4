from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("payouts", "0016_webhooks_lost")]

    operations = [
        migrations.AddField(
            model_name="webhookendpoint",
            name="last_took_ms",
            field=models.PositiveIntegerField(
                db_default=0,
                default=0,
                help_text="How long it took over its last answer; those that take long wait apart.",
            ),
        ),
    ]
