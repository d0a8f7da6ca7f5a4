"""The tests' settings for a web server in a process of its own, on the database that the test run uses."""

import os

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES

DATABASES["default"]["NAME"] = os.environ["SERVED_DATABASE_NAME"]
UNPROVEN_REQUESTS_PER_MINUTE = 10**6
