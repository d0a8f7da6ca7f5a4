"""F74, where no run can show it: nothing sends e-mails, and what looks for secrets finds them."""

from __future__ import annotations

import ast
import base64
import json
import logging
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from django.conf import settings

from config.stack.paths import PROJECT_ROOT
from tests.lib.canaries import Canaries

SECRET = "kanarie/50+4711=abcdefgh"
OURS = ("batches", "config", "hostpay", "payouts")


def _imported() -> Iterator[str]:
    for folder in OURS:
        for path in (PROJECT_ROOT / folder).rglob("*.py"):
            if "node_modules" in path.parts:
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom):
                    yield from (f"{node.module}.{each.name}" for each in node.names)
                elif isinstance(node, ast.Import):
                    yield from (each.name for each in node.names)


def test_f74_no_e_mail_is_sent_by_anybody() -> None:
    """Operators are told by pages, `/metrics` and webhooks; Django's own reports of errors hold whole requests."""
    assert not [name for name in _imported() if name.startswith(("django.core.mail", "smtplib", "email."))]
    assert [*settings.ADMINS, *settings.MANAGERS] == []
    loggers = [logging.getLogger(), *map(logging.getLogger, logging.root.manager.loggerDict)]
    assert "AdminEmailHandler" not in {type(handler).__name__ for each in loggers for handler in each.handlers}


@pytest.mark.parametrize(
    "text",
    [
        f"before {SECRET} after",
        f"?key={quote(SECRET, safe='')}&",
        SECRET.encode().hex(),
        *(base64.b64encode(b"{" * before + SECRET.encode() + b"}}").decode() for before in range(4)),
        json.dumps({"body": base64.b64encode(json.dumps([["x"], {"a": SECRET}]).encode()).decode()}),
    ],
)
def test_a_planted_secret_is_found_in_whatever_clothes(text: str) -> None:
    canaries = Canaries()
    canaries.plant("the secret", SECRET)

    canaries.look_at(text, "a text", but=("another",))

    assert canaries.seen() == ["the secret in a text"]


def test_what_holds_no_secret_or_one_that_belongs_there_is_not_told() -> None:
    canaries = Canaries()
    canaries.plant("the secret", SECRET)

    canaries.look_at(f"{SECRET[:-1]} {base64.b64encode(b'something else').decode()}", "a text")
    canaries.look_at(SECRET, "its own place", but=("the secret",))

    assert canaries.seen() == []
