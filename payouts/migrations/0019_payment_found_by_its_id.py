from django.db import migrations, models

_TABLE = "payouts_accumulation"
_NAME = "accumulation_is_one_per_payment"


def _made_of(*columns: str) -> list[str]:
    """Statements: the new index beside the old one, then one for the other in a moment. A build that broke off is redone."""
    return [
        # Of millions of payments it takes longer than a statement usually may.
        "SET statement_timeout = 0",
        f"DROP INDEX CONCURRENTLY IF EXISTS {_NAME}_anew",
        f"CREATE UNIQUE INDEX CONCURRENTLY {_NAME}_anew ON {_TABLE} ({', '.join(columns)})",
        f"ALTER TABLE {_TABLE} DROP CONSTRAINT {_NAME}, ADD CONSTRAINT {_NAME} UNIQUE USING INDEX {_NAME}_anew",
        "RESET statement_timeout",
    ]


class Migration(migrations.Migration):
    # Built while payments go on coming in.
    atomic = False

    dependencies = [("payouts", "0018_tokens_are_tries")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(sql=_made_of("payment_id", "source"), reverse_sql=_made_of("source", "payment_id"))
            ],
            state_operations=[
                migrations.RemoveConstraint(model_name="accumulation", name=_NAME),
                migrations.AddConstraint(
                    model_name="accumulation",
                    constraint=models.UniqueConstraint(fields=("payment_id", "source"), name=_NAME),
                ),
            ],
        )
    ]
