from functools import partial

from django.apps import AppConfig


class PayoutsConfig(AppConfig):
    name = "payouts"
    verbose_name = "Clients and payments"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # Models must be loaded before these are imported.
        from hostpay.callbacks import count_wrong_tokens_by  # noqa: PLC0415
        from payouts.models import TryKind  # noqa: PLC0415
        from payouts.services import count_failure  # noqa: PLC0415

        count_wrong_tokens_by(partial(count_failure, kind=TryKind.TOKEN))
