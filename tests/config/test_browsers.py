"""Whether tests that need a browser may be left out."""

import os
import subprocess
import sys

from config.stack.paths import PROJECT_ROOT


def _collect(**environment: str) -> "subprocess.CompletedProcess[str]":
    inherited = {name: value for name, value in os.environ.items() if name not in {"CI", "SLUICE_CHROMIUM"}}
    inherited = {name: value for name, value in inherited.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "tests/web/test_browser.py"],
        cwd=PROJECT_ROOT,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_no_browser_is_an_error_where_ci_is_set() -> None:
    done = _collect(CI="1", SLUICE_CHROMIUM="/nonexistent/chromium")

    assert done.returncode == 4
    assert "drive a browser, and there is none at /nonexistent/chromium. SLUICE_CHROMIUM names one." in done.stderr


def test_no_browser_is_a_gap_elsewhere() -> None:
    assert _collect(SLUICE_CHROMIUM="/nonexistent/chromium").returncode == 0


def test_the_browser_that_is_named_is_the_one_that_counts() -> None:
    assert _collect(CI="1", SLUICE_CHROMIUM=sys.executable).returncode == 0
