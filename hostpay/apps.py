from django.apps import AppConfig


class HostpayConfig(AppConfig):
    name = "hostpay"
    verbose_name = "Host wallet"
    default_auto_field = "django.db.models.BigAutoField"
