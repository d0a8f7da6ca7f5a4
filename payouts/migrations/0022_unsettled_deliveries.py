from django.core.serializers.json import DjangoJSONEncoder
from django.db import migrations, models
from django.db.models import PROTECT
from django.db.models.functions import Now

_TABLE = "payouts_inboundeventstatuschange"


class Migration(migrations.Migration):
    """What is not in the books waits for a person, who may leave it so; and that is a history of its own."""

    dependencies = [("payouts", "0021_bodies_are_stored_as_they_are")]

    operations = [
        migrations.AddField(
            "inboundevent",
            "acknowledged_at",
            models.DateTimeField(
                null=True, blank=True, help_text="Since when it is left as it ended, by a person's word."
            ),
        ),
        migrations.CreateModel(
            "InboundEventStatusChange",
            [
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("from_status", models.CharField(blank=True, help_text="Empty at birth.", max_length=16)),
                ("to_status", models.CharField(max_length=16)),
                ("actor", models.CharField(max_length=150)),
                ("reason", models.TextField()),
                ("data", models.JSONField(blank=True, default=dict, encoder=DjangoJSONEncoder)),
                ("created_at", models.DateTimeField(db_default=Now(), editable=False)),
                (
                    "subject",
                    models.ForeignKey(
                        on_delete=PROTECT, related_name="status_changes", to="payouts.inboundevent"
                    ),
                ),
            ],
            options={"ordering": ("pk",), "abstract": False},
        ),
        migrations.RunSQL(
            f"""
            CREATE TRIGGER {_TABLE}_is_immutable BEFORE UPDATE OR DELETE ON {_TABLE}
                FOR EACH ROW EXECUTE FUNCTION payouts_refuse_change();
            """,
            f"DROP TRIGGER {_TABLE}_is_immutable ON {_TABLE};",
        ),
    ]
