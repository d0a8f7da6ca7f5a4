"""What was changed of a client, by whom and why; the database refuses to change that afterwards."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

_TABLE = "payouts_clientchange"

_REFUSE = f"""
CREATE TRIGGER {_TABLE}_is_immutable BEFORE UPDATE OR DELETE ON {_TABLE}
    FOR EACH ROW EXECUTE FUNCTION payouts_refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = [("payouts", "0023_unsettled_deliveries_found")]

    operations = [
        migrations.CreateModel(
            name="ClientChange",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("field", models.CharField(max_length=32)),
                ("before", models.CharField(blank=True, max_length=128)),
                ("after", models.CharField(blank=True, max_length=128)),
                ("actor", models.CharField(max_length=150)),
                ("reason", models.TextField(blank=True)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "client",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="changes", to="payouts.client"
                    ),
                ),
            ],
            options={
                "ordering": ("-id",),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("before", models.F("after")), _negated=True),
                        name="client_change_changes_something",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("actor", ""), _negated=True), name="client_change_says_who"
                    ),
                ],
            },
        ),
        migrations.RunSQL(_REFUSE, f"DROP TRIGGER {_TABLE}_is_immutable ON {_TABLE};"),
    ]
