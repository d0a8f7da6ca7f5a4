"""What is to happen to one exchange instead of the ordinary: part of its row, set by the control API."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

WORD = re.compile(r"[A-Za-z_]{1,30}")
MAX_BPS = 100_000
CHOICES = {
    "refund": ("sent", "never"),
    "fail": ("before_deposit", "after_deposit"),
    "never_pay": ("finished", "sending"),
}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """See the package's docstring for what each one does. Nothing set is the happy path."""

    partial_fill: int | None = None
    over_fill: int | None = None
    refund: str | None = None
    fail: str | None = None
    expire: bool = False
    verifying: int | None = None
    unknown_status: str | None = None
    never_pay: str | None = None
    pay_before_status: int | None = None
    two_transfers: bool = False
    pay_together: int | None = None
    wrong_token: bool = False
    late_amount_to: int | None = None
    report_amount_to: str | None = None

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> "Outcome":
        """Raises ValueError that names what it cannot take. `true` picks the first of several choices."""
        known = {each.name for each in fields(cls)}
        if unknown := sorted(set(given) - known):
            raise ValueError(f"no such outcome: {', '.join(unknown)}")
        return cls(**{name: _checked(name, value) for name, value in given.items()})


def _checked(name: str, value: Any) -> Any:
    if name in CHOICES:
        return _chosen(name, value)
    if name in {"expire", "two_transfers", "wrong_token"}:
        if not isinstance(value, bool):
            raise ValueError(f"{name} must be true or false")
        return value
    if name in {"unknown_status", "report_amount_to"}:
        pattern = WORD if name == "unknown_status" else re.compile(r"[-+.0-9eE]{1,40}")
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise ValueError(f"{name} cannot be {value!r}")
        return value
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_BPS:
        raise ValueError(f"{name} must be a whole number between 0 and {MAX_BPS}")
    return value


def _chosen(name: str, value: Any) -> str | None:
    if value is False:
        return None
    choice = CHOICES[name][0] if value is True else value
    if choice not in CHOICES[name]:
        raise ValueError(f"{name} must be one of {', '.join(CHOICES[name])}")
    return str(choice)
