"""Secrets that are known to nobody else, and whether one of them is in a text."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote


@dataclass
class Canaries:
    """Secrets by name; each is searched for as it is, and in the clothes that programs put on texts."""

    _needles: dict[bytes, str] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)

    def plant(self, name: str, secret: str | bytes) -> None:
        """From now on `secret` must be nowhere."""
        plain = secret.encode() if isinstance(secret, str) else secret
        assert len(plain) >= 12, f"{name} is too short to be told from other words"
        for needle in (plain, quote(plain, safe="").encode(), plain.hex().encode(), *_in_base64(plain)):
            self._needles[needle] = name

    def look_at(self, text: str | bytes, place: str, *, but: tuple[str, ...] = ()) -> None:
        """Note which of them are in `text`, save those that belong there."""
        said = text.encode() if isinstance(text, str) else text
        found = {name for needle, name in self._needles.items() if needle in said}
        self._seen |= {f"{name} in {place}" for name in found - set(but)}

    def seen(self) -> list[str]:
        return sorted(self._seen)


def _in_base64(plain: bytes) -> Iterator[bytes]:
    """What is in every base64 of a text that holds `plain`, wherever in it that begins."""
    for before in range(3):
        begin, end = (0, 2, 3)[before], (before + len(plain)) * 8 // 6
        yield base64.b64encode(b"\0" * before + plain)[begin:end]


def files_below(folder: Path, *, but: tuple[Path, ...]) -> Iterator[Path]:
    """Every plain file, save the named ones and those below the named folders."""
    for name, _, files in os.walk(folder):
        for path in (Path(name) / file for file in files):
            if path.is_file() and not any(path == left_out or left_out in path.parents for left_out in but):
                yield path
