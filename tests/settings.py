"""The settings the tests run under: config.settings, fed from here and not from the machine they run on."""

import os
import tempfile

# Set before the import: settings are read once. What a test needs served (database, broker) may come from outside;
# everything else must not.
for _name in tuple(os.environ):
    if _name.startswith(("CHANGENOW_", "ETH_", "HOST_WALLET_", "USDT_", "NOWPAYMENTS_", "INGEST_", "TOKEN_")):
        del os.environ[_name]
os.environ["MODE"] = "sandbox"
os.environ["DEBUG"] = "0"
os.environ.setdefault("SLUICE_TEST_STATE", os.path.join(tempfile.gettempdir(), f"sluice-tests-{os.getpid()}"))
os.environ["STATE"] = os.environ["SLUICE_TEST_STATE"]

from config.settings import *  # noqa: E402, F403

# The real hashers take 0.2 s a log-in, on purpose.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
