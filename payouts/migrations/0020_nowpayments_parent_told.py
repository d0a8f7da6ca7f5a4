from django.db import migrations, models

# Events that are answers say in their headers what was asked.
_NOTIFIED = """
    UPDATE payouts_nowpayment AS payment SET is_parent_told = true
     WHERE EXISTS (SELECT FROM payouts_inboundevent AS event
                    WHERE event.source = 'nowpayments' AND event.event_id = payment.payment_id
                      AND event.verdict = 'valid' AND NOT event.headers ? 'asked')
"""


class Migration(migrations.Migration):
    dependencies = [("payouts", "0019_payment_found_by_its_id")]

    operations = [
        migrations.AddField(
            model_name="nowpayment",
            name="is_parent_told",
            field=models.BooleanField(
                db_default=False, default=False, help_text="Whether a notification told of it; these name the parent."
            ),
        ),
        migrations.RunSQL(_NOTIFIED, migrations.RunSQL.noop),
    ]
