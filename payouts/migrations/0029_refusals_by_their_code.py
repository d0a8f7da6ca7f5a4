from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("payouts", "0028_bodies_forgotten_found")]

    operations = [migrations.AlterField("rejecteddeliveries", "why", models.CharField(max_length=32))]
