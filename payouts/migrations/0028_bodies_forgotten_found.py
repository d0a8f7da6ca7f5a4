from django.contrib.postgres.operations import AddConstraintNotValid, AddIndexConcurrently, ValidateConstraint
from django.db import migrations, models
from django.db.models import Q

_RULE = "forgotten_body_has_left_its_hash"


class Migration(migrations.Migration):
    # Built and checked while payments go on coming in.
    atomic = False

    dependencies = [("payouts", "0027_bodies_forgotten")]

    operations = [
        # Of millions of deliveries it takes longer than a statement usually may.
        migrations.RunSQL("SET statement_timeout = 0", "RESET statement_timeout"),
        # What a build that broke off has left, which is no index.
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS inbound_event_body_passed", migrations.RunSQL.noop),
        AddIndexConcurrently(
            "inboundevent",
            models.Index(fields=("body_state", "id"), condition=~Q(body_state=""), name="inbound_event_body_passed"),
        ),
        AddConstraintNotValid(
            "inboundevent",
            models.CheckConstraint(
                condition=Q(body_state__in=("", "overdue"), body_sha256="")
                | (Q(body_state="forgotten", body=b"") & ~Q(body_sha256="")),
                name=_RULE,
            ),
        ),
        ValidateConstraint("inboundevent", _RULE),
        migrations.RunSQL("RESET statement_timeout", "SET statement_timeout = 0"),
    ]
