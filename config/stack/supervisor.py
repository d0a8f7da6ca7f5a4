"""Starts the parts in order, starts again what dies, and stops all of them in reverse order.

A part's death is its own affair as long as starting it again helps: the others go on without the database for a
second, as they must in production. When it does not help, the whole stack stops with an error.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress

from config.stack.console import Console
from config.stack.part import Part, RestartPolicy
from config.stack.paths import State
from config.stack.status import write_status
from config.stack.supervised import PartFailedError, Supervised

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Supervisor:
    """All parts of one state folder."""

    def __init__(self, parts: list[Part], *, state: State, console: Console, policy: RestartPolicy) -> None:
        self._state = state
        self._console = console
        self._stop_asked = asyncio.Event()
        self._hurry = asyncio.Event()
        self._all = {
            part.name: Supervised(part, console=console, policy=policy, note=self._write_status) for part in parts
        }

    async def run(self, *, once_ready: Callable[[], Awaitable[int | None]]) -> int:
        """Runs everything until a signal, then stops it; returns the exit code.

        `once_ready` is called when all parts are; if it returns a number, the stack stops with that as exit code.
        """
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self._on_signal)
        runs = [asyncio.create_task(each.run(self._needs(each)), name=name) for name, each in self._all.items()]
        ready = asyncio.create_task(self._when_ready(once_ready))
        asked = asyncio.create_task(self._stop_asked.wait())
        try:
            return await self._until_the_end(runs, ready, asked)
        finally:
            for waiting in (ready, asked):
                waiting.cancel()
            await self._stop_all()
            for each in runs:
                each.cancel()
            await asyncio.gather(ready, asked, *runs, return_exceptions=True)
            self._write_status()
            for number in SIGNALS:
                loop.remove_signal_handler(number)

    async def _until_the_end(
        self, runs: list[asyncio.Task[None]], ready: asyncio.Task[int | None], asked: asyncio.Task[bool]
    ) -> int:
        """The exit code of whatever comes first: a signal, a hopeless part, the end of `once_ready`'s own work."""
        pending: set[asyncio.Task[None] | asyncio.Task[int | None] | asyncio.Task[bool]] = {*runs, ready, asked}
        while True:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                try:
                    result = each.result()
                except PartFailedError as error:
                    self._report_failure(each.get_name(), error)
                    return 1
                if each is asked:
                    return 0
                if each is ready and isinstance(result, int):
                    return result

    async def _when_ready(self, once_ready: Callable[[], Awaitable[int | None]]) -> int | None:
        for each in self._all.values():
            await each.ready.wait()
        return await once_ready()

    async def _stop_all(self) -> None:
        """Stops each part when all that need it have stopped."""
        stopped = {name: asyncio.Event() for name in self._all}

        async def stop(name: str) -> None:
            for other in self._all.values():
                if name in other.part.after:
                    await stopped[other.part.name].wait()
            await self._all[name].stop(hurry=self._hurry)
            stopped[name].set()

        await asyncio.gather(*(stop(name) for name in self._all))

    def _needs(self, one: Supervised) -> list[Supervised]:
        return [self._all[name] for name in one.part.after if name in self._all]

    def _on_signal(self) -> None:
        if not self._stop_asked.is_set():
            self._console.stack_says("stopping; once more to hurry")
            self._stop_asked.set()
        elif not self._hurry.is_set():
            self._console.stack_says("hurrying")
            self._hurry.set()

    def _report_failure(self, name: str, error: PartFailedError) -> None:
        if self._console.is_quiet:
            for line in self._console.last_lines(name):
                self._console.stack_says(f"{name}: {line}")
        self._console.stack_says(f"{error}. Its log: {self._state.log / name}.log")

    def _write_status(self) -> None:
        # The folder may have been removed under us; the parts must be stopped all the same.
        with suppress(FileNotFoundError):
            write_status(self._state, [each.status for each in self._all.values()])
