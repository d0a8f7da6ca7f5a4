from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("payouts", "0026_deliveries_found")]

    operations = [
        migrations.AddField(
            "inboundevent",
            "body_state",
            models.CharField(
                max_length=16,
                choices=[
                    ("overdue", "kept beyond its time, since the delivery waits for somebody"),
                    ("forgotten", "forgotten when its time was over"),
                ],
                blank=True,
                default="",
                db_default="",
            ),
        ),
        migrations.AddField(
            "inboundevent",
            "body_sha256",
            models.CharField(
                max_length=64,
                blank=True,
                default="",
                db_default="",
                help_text="Of a body that is forgotten, in hexadecimal.",
            ),
        ),
    ]
