from django.db import migrations

from config.lib.columns import usd_field


class Migration(migrations.Migration):
    dependencies = [("hostpay", "0009_divided_refunds")]

    operations = [
        migrations.AddField(
            model_name="hostpayment",
            name="valued_usd",
            field=usd_field(
                blank=True,
                help_text="What the provider said it is worth when that was last compared with the books.",
                null=True,
            ),
        ),
    ]
