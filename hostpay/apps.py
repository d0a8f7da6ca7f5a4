from django.apps import AppConfig
from django.db import connection


class HostpayConfig(AppConfig):
    name = "hostpay"
    verbose_name = "Host wallet"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # Models must be loaded before these are imported.
        from config.lib.http import forbid_in_transaction  # noqa: PLC0415
        from hostpay import checks  # noqa: F401, PLC0415 (a check registers itself)
        from hostpay.callbacks import DoNothing, register  # noqa: PLC0415
        from hostpay.models import Context  # noqa: PLC0415

        register(Context.INSTANT, DoNothing())
        forbid_in_transaction(_transaction_is_open)


def _transaction_is_open() -> bool:
    """No call outside while a transaction is open: locks must not wait for somebody else's network."""
    return connection.in_atomic_block
