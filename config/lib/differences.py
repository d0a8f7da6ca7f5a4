"""Two accounts of the same thing side by side: what our books say, and what somebody else says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What comes of comparing the two."""

    AGREES = "agrees"
    NOTED = "noted"
    ACCEPTED = "accepted"
    DIFFERS = "differs"
    ALARM = "alarm"


# What a person has to do something about. `noted` is worth knowing, `accepted` was looked into before.
OPEN = (Verdict.DIFFERS, Verdict.ALARM)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One thing compared: its row, the figures on both sides, and what to do where they differ.

    `is_acceptable`: whether a person may take it on. What can be mended, or was not looked at whole, is not there to be
    known.
    """

    row: str
    ours: str
    theirs: str
    verdict: Verdict = Verdict.AGREES
    next_step: str = ""
    is_acceptable: bool = True

    @property
    def key(self) -> str:
        """The same for the same figures of the same row, in every run: what a person accepted once is known again.

        Unless it is judged worse by then.
        """
        said = [self.row, self.ours, self.theirs, self.verdict.value]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()

    @property
    def is_open(self) -> bool:
        return self.verdict in OPEN

    def __str__(self) -> str:
        return f"{self.row}: our books say {self.ours}, outside it is {self.theirs}"


def compared(row: str, ours: object, theirs: object, *, next_step: str) -> Line:
    """A line that agrees if both say the same, and else says what to do."""
    if ours == theirs:
        return Line(row=row, ours=str(ours), theirs=str(theirs))
    return Line(row=row, ours=str(ours), theirs=str(theirs), verdict=Verdict.DIFFERS, next_step=next_step)


def left_out(row: str, count: int) -> Line:
    """The line of what a bounded run did not look at, which nobody can know."""
    return Line(
        row=row,
        ours="not compared",
        theirs=f"{count} more",
        verdict=Verdict.DIFFERS,
        next_step="Run manage.py reconcile at a shell: it takes its time, and compares all of them.",
        is_acceptable=False,
    )


def open_lines(lines: Iterable[Line]) -> list[Line]:
    """Those that a person has to do something about."""
    return [line for line in lines if line.is_open]
