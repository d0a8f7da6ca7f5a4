"""How far a long command is, on a terminal."""

from __future__ import annotations

import os
from typing import IO, Protocol

_BAR = 30


class Terminal(Protocol):
    """A command's `stderr`."""

    def isatty(self) -> bool: ...

    def write(self, msg: str = ..., style_func: None = ..., ending: str | None = ...) -> None: ...


class FileProgress:
    """A bar that follows a file being read; where nobody looks on, nothing is written."""

    def __init__(self, terminal: Terminal, file: IO[str], *, noun: str) -> None:
        self._terminal = terminal
        self._file = file
        self._noun = noun
        self._size = os.fstat(file.fileno()).st_size

    def show(self, done: int) -> None:
        if not self._terminal.isatty():
            return
        # How far the file was read, which is a buffer's length ahead of what was done.
        read = os.lseek(self._file.fileno(), 0, os.SEEK_CUR)
        share = min(1, read / self._size) if self._size else 1
        filled = int(share * _BAR)
        bar = f"[{'#' * filled}{'.' * (_BAR - filled)}]"
        self._terminal.write(f"\r{bar} {share:4.0%}  {done:,} {self._noun}", ending="")

    def end(self) -> None:
        """Leave the bar's line."""
        if self._terminal.isatty():
            self._terminal.write("")
