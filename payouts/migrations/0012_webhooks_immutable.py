"""What an event said is never changed, and neither is an endpoint's history; tries and their outcome come and go."""

from django.db import migrations

_TOLD = (
    "endpoint_id",
    "accumulation_id",
    "event",
    "batch_id",
    "converted_usdt_amount",
    "reason",
    "nonce",
    "created_at",
)
_HISTORY = "payouts_webhookendpointstatuschange"

_REFUSE = f"""
CREATE TRIGGER payouts_webhookdelivery_says_one_thing AFTER UPDATE OF {", ".join(_TOLD)} ON payouts_webhookdelivery
    FOR EACH ROW WHEN (({", ".join(f"OLD.{name}" for name in _TOLD)})
                       IS DISTINCT FROM ({", ".join(f"NEW.{name}" for name in _TOLD)}))
    EXECUTE FUNCTION payouts_refuse_change();

CREATE TRIGGER {_HISTORY}_is_immutable BEFORE UPDATE OR DELETE ON {_HISTORY}
    FOR EACH ROW EXECUTE FUNCTION payouts_refuse_change();
"""

_ALLOW = f"""
DROP TRIGGER payouts_webhookdelivery_says_one_thing ON payouts_webhookdelivery;
DROP TRIGGER {_HISTORY}_is_immutable ON {_HISTORY};
"""


class Migration(migrations.Migration):
    dependencies = [("payouts", "0011_webhooks")]

    operations = [migrations.RunSQL(_REFUSE, _ALLOW)]
