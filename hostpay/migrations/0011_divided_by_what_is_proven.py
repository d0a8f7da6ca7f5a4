"""A portion that stands by the word of two people, who know of no more, does not block what a trace shows later."""

from django.db import migrations

# A row of less than its transaction brought says what is proven: a part is taken of nothing else, so all parts say the
# same. A row of the whole may be proven, too, or be all that two people knew of, or be from when a transaction was one
# order's; it says "at least so much". Where a part is proven, a whole that says more leaves nothing to divide: with any
# other portion the sum is above it. So the largest figure is the bound, and never more than what was proven.
_DIVIDED = """
CREATE OR REPLACE FUNCTION hostpay_divide_refund() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    credited numeric;
    brought numeric;
    proven integer;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('refund ' || NEW.chain_id || ' ' || NEW.tx_hash, 0));
    SELECT sum(units), max(brought_units), count(DISTINCT brought_units) FILTER (WHERE units < brought_units)
      INTO credited, brought, proven
      FROM (SELECT units, brought_units FROM hostpay_refund
             WHERE chain_id = NEW.chain_id AND tx_hash = NEW.tx_hash
             UNION ALL
            SELECT units, brought_units FROM hostpay_latereturn
             WHERE chain_id = NEW.chain_id AND tx_hash = NEW.tx_hash) portion;
    IF credited > brought OR proven > 1 OR (NEW.units < NEW.brought_units AND credited > NEW.brought_units) THEN
        RAISE EXCEPTION 'transaction % is credited with % wei in all, and brought %', NEW.tx_hash, credited, brought
            USING ERRCODE = 'check_violation', CONSTRAINT = 'refund_is_divided_exactly';
    END IF;
    RETURN NULL;
END $$;
"""
_FORMER = """
CREATE OR REPLACE FUNCTION hostpay_divide_refund() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    credited numeric;
    brought numeric[];
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('refund ' || NEW.chain_id || ' ' || NEW.tx_hash, 0));
    SELECT sum(units), array_agg(DISTINCT brought_units) INTO credited, brought
      FROM (SELECT units, brought_units FROM hostpay_refund
             WHERE chain_id = NEW.chain_id AND tx_hash = NEW.tx_hash
             UNION ALL
            SELECT units, brought_units FROM hostpay_latereturn
             WHERE chain_id = NEW.chain_id AND tx_hash = NEW.tx_hash) portion;
    IF credited > NEW.brought_units OR cardinality(brought) > 1 THEN
        RAISE EXCEPTION 'transaction % is credited with % wei in all, and brought %', NEW.tx_hash, credited, brought
            USING ERRCODE = 'check_violation', CONSTRAINT = 'refund_is_divided_exactly';
    END IF;
    RETURN NULL;
END $$;
"""


class Migration(migrations.Migration):

    dependencies = [
        ('hostpay', '0010_payments_valued'),
    ]

    operations = [
        migrations.RunSQL(_DIVIDED, _FORMER),
    ]
