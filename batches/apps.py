from django.apps import AppConfig


class BatchesConfig(AppConfig):
    name = "batches"
    verbose_name = "Conversion"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # Models must be loaded before these are imported.
        from batches.handlers import BatchHandler  # noqa: PLC0415
        from hostpay.callbacks import register  # noqa: PLC0415
        from hostpay.models import Context  # noqa: PLC0415

        register(Context.BATCH, BatchHandler())
