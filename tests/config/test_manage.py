"""What every command says where there is no database, and what the README says to type."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from config.stack.paths import PROJECT_ROOT

README = (PROJECT_ROOT / "README.md").read_text(encoding="utf-8")


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=PROJECT_ROOT, env={**kept, "ENV_FILE": os.devnull, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    "arguments", [["create_api_key", "--name", "me", "--scope", "read"], ["check_threshold", "--dry-run"]]
)
def test_a_command_without_a_stack_says_how_to_find_one(tmp_path: Path, arguments: list[str]) -> None:
    ended = run(*arguments, STATE=str(tmp_path))

    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.splitlines()[-1] == (
        f"No stack runs in {tmp_path}: start it (`make run`), or name in STATE the folder of the one that runs."
    )
    assert "Traceback" not in ended.stderr


def test_a_command_without_its_database_says_which_one_without_its_password(tmp_path: Path) -> None:
    url = f"postgresql://sluice:canary@localhost:1/sluice?host={tmp_path}"

    ended = run("check_threshold", "--dry-run", STATE=str(tmp_path), DATABASE_URL=url)

    assert ended.returncode == 1
    assert "The database of DATABASE_URL cannot be reached: " in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "canary" not in ended.stderr


def test_the_readmes_commands_can_be_typed_in_order_against_any_stack() -> None:
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", README, re.DOTALL))

    # What a later command needs is not overwritten by one between, and no port or folder is taken for granted.
    assert re.findall(r"^key=\$\((.*?) --name", blocks, re.MULTILINE) == [
        ".venv/bin/python manage.py create_api_key",
    ]
    assert len(re.findall(r"^key=", blocks, re.MULTILINE)) == 1
    assert not re.findall(r"http://127\.0\.0\.1:\d+/api", blocks)
    assert "var/stack.env" not in blocks
