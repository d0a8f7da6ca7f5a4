"""Who took which rows out of the house: written once, and never changed."""

import django.contrib.postgres.fields
import django.db.models.functions.datetime
from django.db import migrations, models


_TABLE = "payouts_export"

_REFUSE = f"""
CREATE TRIGGER {_TABLE}_is_immutable BEFORE UPDATE OR DELETE ON {_TABLE}
    FOR EACH ROW EXECUTE FUNCTION payouts_refuse_change();
"""

_ALLOW = f"DROP TRIGGER {_TABLE}_is_immutable ON {_TABLE};"


class Migration(migrations.Migration):
    dependencies = [
        ("payouts", "0030_webhook_ids_that_recorded"),
    ]

    operations = [
        migrations.CreateModel(
            name="Export",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("actor", models.CharField(max_length=150)),
                ("subject", models.CharField(help_text="The list, or the object whose table it was.", max_length=128)),
                (
                    "filters",
                    models.JSONField(
                        blank=True, default=dict, help_text="The list's filters and search, as in its address."
                    ),
                ),
                (
                    "columns",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=64),
                        help_text="Those that the person may see.",
                        size=None,
                    ),
                ),
                ("row_count", models.PositiveIntegerField(blank=True, null=True)),
                (
                    "sha256",
                    models.CharField(
                        blank=True,
                        help_text="Of the file: a copy can be told by it.",
                        max_length=64,
                        verbose_name="SHA-256",
                    ),
                ),
                ("refusal", models.TextField(blank=True, help_text="Why nothing was handed over.")),
            ],
            options={
                "ordering": ("-id",),
                "indexes": [models.Index(fields=["subject", "-id"], name="export_of_a_list")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("refusal", ""), ("row_count__isnull", False), ("sha256__regex", "^[0-9a-f]{64}$")
                            ),
                            models.Q(
                                models.Q(("refusal", ""), _negated=True), ("row_count__isnull", True), ("sha256", "")
                            ),
                            _connector="OR",
                        ),
                        name="export_is_a_file_or_a_refusal",
                    )
                ],
            },
        ),
        migrations.RunSQL(_REFUSE, _ALLOW),
    ]
