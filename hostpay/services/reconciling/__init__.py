"""The books against the chain and the exchange: what differs, and the few repairs that prove themselves.

Nothing here believes an absence that nobody has seen: a node or provider that does not answer is an error.
"""

from hostpay.services.reconciling.attaching import attach_alone, attach_order
from hostpay.services.reconciling.chain import ChainReport, reconcile_chain
from hostpay.services.reconciling.exchanges import reconcile_provider
from hostpay.services.reconciling.readopting import Readopted, readopt_sent
from hostpay.services.reconciling.runs import latest_settled, record_run, sign_off

__all__ = (
    "ChainReport",
    "Readopted",
    "attach_alone",
    "attach_order",
    "latest_settled",
    "readopt_sent",
    "reconcile_chain",
    "reconcile_provider",
    "record_run",
    "sign_off",
)
