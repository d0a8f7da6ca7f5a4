"""Why something happens, or does not: rules with their verdicts, one source for admin, API and command line."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule that applies to an object: whether it is met, and the sentence with the figures."""

    name: str
    ok: bool
    detail: str
    since: datetime | None = None
