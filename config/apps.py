from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class SluiceConfig(AppConfig):
    """No models: it makes the whole-system commands known, and ties tasks to our Celery application."""

    name = "config"
    label = "sluice"
    verbose_name = "Sluice"

    def ready(self) -> None:
        # `shared_task` binds to the application that was made last; without this import a process that only sends
        # (web, a command) would send to Celery's default one.
        from config import celery  # noqa: F401, PLC0415


class SluiceAdminConfig(AdminConfig):
    """Django's admin, with our site as the one that every `admin.site` means."""

    default_site = "config.admin_site.SluiceAdminSite"

    def ready(self) -> None:
        super().ready()
        from django.contrib import admin  # noqa: PLC0415

        # After all apps' admin modules: it takes the place of what some of them registered.
        from config.admin_site.foreign import dress  # noqa: PLC0415

        dress(admin.site)
        # It shows parts of all apps, so none of them can register it.
        from config.admin_site import reconciliations  # noqa: F401, PLC0415
