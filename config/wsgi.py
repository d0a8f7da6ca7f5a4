"""The WSGI application: `gunicorn config.wsgi`."""

import os

from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application

from config.env import SettingsError

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

try:
    application = get_wsgi_application()
    # Imports the clients, which read the settings.
    from config.starting import refuse_key

    refuse_key(who="the web server")
except SettingsError as error:
    # gunicorn takes a worker's SystemExit for an ordinary end and starts the next one, for ever; on any other error
    # while booting it stops.
    raise ImproperlyConfigured(str(error)) from None
