from django.db import migrations, models
from django.db.models import Q

from config.lib.columns import usd_field

# A refusal stands as the last error too; what else is open was asked for a reason that nobody recorded, so a person decides.
_CAUSES = """
    UPDATE payouts_nowpayment
       SET review_cause = CASE WHEN accumulation_id IS NULL AND left(last_error, 1000) = review_reason
                               THEN 'refused' ELSE 'conflict' END
     WHERE review_reason <> ''
"""

_UNFINISHED_OR_ARRIVED = ("waiting", "confirming", "confirmed", "sending", "partially_paid", "finished")
_CHOICES = [
    ("refused", "its booking was refused"),
    ("unanswered", "what is needed was not answered"),
    ("stale", "nothing more is heard of it"),
    ("unknown_word", "a word that we do not know"),
    ("news", "it went on after it was decided"),
    ("conflict", "it is told in two ways"),
]


class Migration(migrations.Migration):
    dependencies = [("payouts", "0031_exports")]

    operations = [
        migrations.AddField(
            model_name="nowpayment",
            name="review_cause",
            field=models.CharField(blank=True, choices=_CHOICES, db_default="", max_length=16),
        ),
        migrations.AddField(
            model_name="nowpayment",
            name="set_aside_at",
            field=models.DateTimeField(
                blank=True, help_text="When a person decided to book nothing for it.", null=True
            ),
        ),
        migrations.AlterField(
            model_name="nowpayment",
            name="valued_usd",
            field=usd_field(
                blank=True, help_text="What the outcome is worth; owed where the asked price is not.", null=True
            ),
        ),
        migrations.RunSQL(_CAUSES, migrations.RunSQL.noop),
        migrations.RemoveConstraint(model_name="nowpayment", name="now_payment_waits_for_somebody"),
        migrations.AddConstraint(
            model_name="nowpayment",
            constraint=models.CheckConstraint(
                condition=~Q(status__in=_UNFINISHED_OR_ARRIVED)
                | Q(accumulation__isnull=False)
                | Q(next_action_at__isnull=False)
                | Q(set_aside_at__isnull=False)
                | ~Q(review_reason=""),
                name="now_payment_waits_for_somebody",
            ),
        ),
        migrations.AddConstraint(
            model_name="nowpayment",
            constraint=models.CheckConstraint(
                condition=Q(review_cause="", review_reason="")
                | (~Q(review_reason="") & Q(review_cause__in=[name for name, _ in _CHOICES])),
                name="now_payment_review_has_a_cause",
            ),
        ),
        migrations.AddConstraint(
            model_name="nowpayment",
            constraint=models.CheckConstraint(
                condition=Q(set_aside_at__isnull=True) | Q(accumulation__isnull=True),
                name="now_payment_set_aside_is_not_booked",
            ),
        ),
    ]
