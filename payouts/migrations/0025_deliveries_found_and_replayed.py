from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("payouts", "0024_client_changes")]

    operations = [
        migrations.AddField(
            "inboundevent",
            "named_payment_id",
            models.CharField(
                max_length=128,
                blank=True,
                default="",
                db_default="",
                help_text="As the body has it, if it was not recorded.",
            ),
        ),
        migrations.AddField(
            "inboundevent",
            "named_client_id",
            models.CharField(
                max_length=64,
                blank=True,
                default="",
                db_default="",
                help_text="As the body has it, if it was not recorded.",
            ),
        ),
        migrations.AddField(
            "inboundevent",
            "replay_at",
            models.DateTimeField(
                null=True,
                blank=True,
                help_text="When it is processed again, as somebody asked; later while a worker is at it.",
            ),
        ),
    ]
