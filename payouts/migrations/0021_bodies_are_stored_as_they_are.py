from django.db import migrations


class Migration(migrations.Migration):
    """A body too long for its row is not compressed: that took a bulk request 6 % of its time.

    Such are those of bulk requests, where a payment takes 177 bytes now and took 41, beside 410 of its accumulation with
    its index entries. The body of a single payment fits into its row and never was compressed.
    """

    dependencies = [("payouts", "0020_nowpayments_parent_told")]

    operations = [
        migrations.RunSQL(
            "ALTER TABLE payouts_inboundevent ALTER COLUMN body SET STORAGE EXTERNAL",
            "ALTER TABLE payouts_inboundevent ALTER COLUMN body SET STORAGE EXTENDED",
        ),
    ]
