from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("payouts", "0013_void_orders")]

    operations = [
        migrations.AddField(
            model_name="webhookendpoint",
            name="given_up_in_a_row",
            field=models.PositiveIntegerField(
                db_default=0, default=0, help_text="Events given up since the last one that was taken."
            ),
        ),
    ]
