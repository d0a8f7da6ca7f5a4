"""Where the browser is that tests drive."""

import os
from pathlib import Path

CHROMIUM = Path(os.environ.get("SLUICE_CHROMIUM", "").strip() or "/usr/bin/chromium")
