"""The settings the tests run under: config.settings, fed from here and not from the machine they run on."""

import os
import re
import tempfile
from pathlib import Path

# Set before the import: settings are read once. What a test needs served (database, broker) may come from outside;
# everything else must not: no setting of the shell's, no `.env` of the checkout's, no `stack.env` of a running stack.
_example = (Path(__file__).parents[1] / ".env.example").read_text(encoding="utf-8")
_named = set(re.findall(r"^#?([A-Z][A-Z0-9_]*)=", _example, re.MULTILINE)) - {"DATABASE_URL", "CELERY_BROKER_URL"}
for _name in tuple(os.environ):
    if _name.removesuffix("_FILE") in _named or _name.startswith("HOST_WALLET_"):
        del os.environ[_name]
os.environ["ENV_FILE"] = os.devnull
os.environ["MODE"] = "sandbox"
os.environ["DEBUG"] = "0"
os.environ.setdefault("SLUICE_TEST_STATE", os.path.join(tempfile.gettempdir(), f"sluice-tests-{os.getpid()}"))
os.environ["STATE"] = os.environ["SLUICE_TEST_STATE"]

from config.settings import *  # noqa: E402, F403

# The real hashers take 0.2 s a log-in, on purpose.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
