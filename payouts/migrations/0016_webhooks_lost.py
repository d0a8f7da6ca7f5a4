from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    # Built while events go on being written.
    atomic = False

    dependencies = [("payouts", "0015_webhooks_acknowledged")]

    operations = [
        AddIndexConcurrently(
            model_name="webhookdelivery",
            index=models.Index(
                condition=models.Q(("given_up_at__isnull", False)),
                fields=["endpoint", "given_up_at"],
                name="webhook_delivery_lost",
            ),
        ),
    ]
