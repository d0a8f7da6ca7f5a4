"""The WSGI application: `gunicorn config.wsgi`."""

import gc
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
    # What the program is made of stays: the collector need not look through it again in the middle of a request, nor
    # look at all for each of the few thousand small objects that a bulk request is made of, none of them in a circle.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000)
except SettingsError as error:
    # gunicorn takes a worker's SystemExit for an ordinary end and starts the next one, for ever; on any other error
    # while booting it stops.
    raise ImproperlyConfigured(str(error)) from None
