"""What is never changed is refused by the database: the history, the rules in their versions, and the checks.

TRUNCATE stays possible: it takes rights of its own, and empties a test database.
"""

from django.db import migrations

_TABLES = ("batches_batchstatuschange", "batches_conversionpolicy", "batches_thresholdcheck")

_REFUSE = """
CREATE FUNCTION batches_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused: its rows are never changed', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END $$;
""" + "".join(
    f"""
CREATE TRIGGER {table}_is_immutable BEFORE UPDATE OR DELETE ON {table}
    FOR EACH ROW EXECUTE FUNCTION batches_refuse_change();
"""
    for table in _TABLES
)

_ALLOW = "DROP FUNCTION batches_refuse_change() CASCADE;"


class Migration(migrations.Migration):
    dependencies = [("batches", "0002_what_must_hold")]

    operations = [migrations.RunSQL(_REFUSE, _ALLOW)]
