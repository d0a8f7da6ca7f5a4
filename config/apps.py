from django.apps import AppConfig


class SluiceConfig(AppConfig):
    """No models: it makes the whole-system commands known, and ties tasks to our Celery application."""

    name = "config"
    label = "sluice"
    verbose_name = "Sluice"

    def ready(self) -> None:
        # `shared_task` binds to the application that was made last; without this import a process that only sends
        # (web, a command) would send to Celery's default one.
        from config import celery  # noqa: F401, PLC0415
