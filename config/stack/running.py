"""One running program: its output line by line, and its end."""

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress

CHUNK_BYTES = 65_536
# A longer line is cut into several: it must not fill our memory.
LONGEST_LINE_BYTES = 16_384
# What a program leaves running may hold its output open for ever; nobody waits for that.
LAST_OUTPUT_S = 1.0
# After the second Ctrl-C.
HURRIED_STOP_S = 1.0


class Running:
    """A process in its own group, whose every line of output goes to `on_line`."""

    def __init__(self, process: asyncio.subprocess.Process, on_line: Callable[[bytes], None]) -> None:
        self.pid = process.pid
        self._process = process
        self._output = asyncio.create_task(self._pump(on_line))

    @classmethod
    async def start(
        cls, command: list[str], environment: Mapping[str, str], on_line: Callable[[bytes], None]
    ) -> "Running":
        process = await asyncio.create_subprocess_exec(
            *command,
            env=dict(environment),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            # Its own group: the terminal's Ctrl-C reaches the supervisor alone, which stops the parts in order.
            start_new_session=True,
        )
        return cls(process, on_line)

    @property
    def has_ended(self) -> bool:
        return self._process.returncode is not None

    async def wait(self) -> int:
        """The exit code (negative: the signal that ended it), once its last words are read."""
        code = await self._process.wait()
        await asyncio.wait({self._output}, timeout=LAST_OUTPUT_S)
        self._output.cancel()
        return code

    def kill(self) -> None:
        """Ends it and all it started that stayed in its group."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    async def stop(self, how: signal.Signals, *, within_s: float, hurry: asyncio.Event) -> bool:
        """Asks it to end, then makes it. True if asking was enough."""
        with suppress(ProcessLookupError):
            self._process.send_signal(how)
        gone = asyncio.create_task(self._process.wait())
        hurried = asyncio.create_task(hurry.wait())
        await asyncio.wait({gone, hurried}, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        if hurried.done():
            await asyncio.wait({gone}, timeout=HURRIED_STOP_S)
        hurried.cancel()
        was_enough = gone.done()
        self.kill()
        await gone
        return was_enough

    async def _pump(self, on_line: Callable[[bytes], None]) -> None:
        stream = self._process.stdout
        if stream is None:
            return
        rest = b""
        while chunk := await stream.read(CHUNK_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                on_line(line.rstrip(b"\r"))
            if len(rest) > LONGEST_LINE_BYTES:
                on_line(rest)
                rest = b""
        if rest:
            on_line(rest)
