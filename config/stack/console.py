"""What the parts say: on the terminal with the part's name in front, and in one file a part."""

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

MAX_LOG_BYTES = 5 * 1024 * 1024
COLOURS = (36, 32, 35, 33, 34, 96, 92, 95, 93, 94)
ESCAPES = re.compile(rb"\x1b\[[0-9;]*[A-Za-z]")
LAST_LINES = 30


@dataclass
class LogFile:
    """A part's log: the current file and the one before it, each of bounded size."""

    path: Path
    _stream: IO[bytes] | None = None
    _size: int = 0

    def write(self, line: bytes) -> None:
        if self._stream is None or self._size + len(line) > MAX_LOG_BYTES:
            self._turn()
        stream = self._stream
        if stream is not None:
            stream.write(ESCAPES.sub(b"", line) + b"\n")
            stream.flush()
            self._size += len(line) + 1

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _turn(self) -> None:
        self.close()
        if self.path.exists():
            self.path.replace(self.path.with_suffix(".log.1"))
        self._stream = self.path.open("wb")
        self._size = 0


@dataclass
class Console:
    """The lines of all parts. `is_quiet` keeps them off the terminal, not out of the files."""

    folder: Path
    names: Iterable[str]
    is_quiet: bool = False
    stream: IO[str] = field(default_factory=lambda: sys.stdout)

    def __post_init__(self) -> None:
        known = tuple(self.names)
        self._width = max((len(name) for name in known), default=0)
        self._colours = {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(known)}
        self._is_coloured = self.stream.isatty()
        self._files: dict[str, LogFile] = {}
        self._last: dict[str, list[str]] = {}

    def part_says(self, name: str, line: bytes) -> None:
        """One line of a part's output, as the part wrote it."""
        log = self._files.get(name)
        if log is None:
            log = self._files[name] = LogFile(self.folder / f"{name}.log")
        log.write(line)
        text = line.decode("utf-8", errors="replace")
        self._last[name] = [*self._last.get(name, []), text][-LAST_LINES:]
        if not self.is_quiet:
            self._print(name, text)

    def stack_says(self, text: str) -> None:
        """A line of the supervisor itself; people want it in any case."""
        for line in text.splitlines():
            self._print("stack", line)

    def last_lines(self, name: str) -> list[str]:
        return self._last.get(name, [])

    def close(self) -> None:
        for log in self._files.values():
            log.close()

    def _print(self, name: str, text: str) -> None:
        label = f"{name:<{self._width}} |"
        if self._is_coloured and name in self._colours:
            label = f"\x1b[{self._colours[name]}m{label}\x1b[0m"
        try:
            print(label, text, file=self.stream, flush=True)
        except BrokenPipeError:
            # Whoever read us has gone (`| head`); the parts go on and their files tell the rest.
            self.is_quiet = True
