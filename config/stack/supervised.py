"""One part under supervision: started, watched until ready, started again when it dies, stopped."""

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from config.stack.console import Console
from config.stack.part import GoneAgainError, Part, PartState, RestartPolicy
from config.stack.processes import started_at
from config.stack.running import Running
from config.stack.status import PartStatus

PROBE_EVERY_S = 0.1


class PartFailedError(RuntimeError):
    """A part cannot be brought to run; the text says which and why."""


class Supervised:
    """A part, its process and its status."""

    def __init__(self, part: Part, *, console: Console, policy: RestartPolicy, note: Callable[[], None]) -> None:
        self.part = part
        self.status = PartStatus(name=part.name, place=part.place)
        self.ready = asyncio.Event()
        self._console = console
        self._policy = policy
        self._note = note
        self._running: Running | None = None
        self._said_ready = False
        self._stop_asked = asyncio.Event()

    async def run(self, needs: Iterable["Supervised"]) -> None:
        """Runs the part until `stop`, or to its end if it is a step. Raises PartFailedError when that is hopeless."""
        for need in needs:
            await need.ready.wait()
        if self.part.once:
            await self._run_step()
        else:
            await self._keep_running()

    async def stop(self, *, hurry: asyncio.Event) -> None:
        """Ends the part; nothing of it is left when this returns."""
        self._stop_asked.set()
        running = self._running
        if running is None or running.has_ended:
            return
        self._move(PartState.STOPPING)
        if not await running.stop(self.part.stop_signal, within_s=self.part.stop_within_s, hurry=hurry):
            self._console.stack_says(f"{self.part.name} did not stop when asked; killed")
        self._lose_process()
        self._move(PartState.STOPPED)

    async def _run_step(self) -> None:
        running = await self._start()
        code = await running.wait()
        self._lose_process()
        if self._stop_asked.is_set():
            self._move(PartState.STOPPED)
            return
        if code != 0:
            self._fail(f"the step {self.part.name} failed with exit code {code}")
        await self._call(self.part.once_ready)
        self._move(PartState.DONE)
        self.ready.set()

    async def _keep_running(self) -> None:
        deaths: list[float] = []
        while not self._stop_asked.is_set():
            running = await self._start()
            await self._watch_until_ready(running)
            code = await running.wait()
            # Children of a part that was killed must not work on beside its successor.
            running.kill()
            self._lose_process()
            if self._stop_asked.is_set():
                break
            now = time.monotonic()
            deaths = [*self._policy.recent(deaths, now=now), now]
            await self._rest_after_death(code, len(deaths))
        self._move(PartState.STOPPED)

    async def _rest_after_death(self, code: int, recent_deaths: int) -> None:
        if self._policy.is_hopeless(recent_deaths):
            self._fail(f"{self.part.name} ended {recent_deaths} times in {self._policy.window_s:.0f} s")
        wait_s = self._policy.wait_s(recent_deaths)
        self._console.stack_says(f"{self.part.name} ended with exit code {code}; starting it again in {wait_s:.2f} s")
        self.status.restarts += 1
        self._move(PartState.RESTARTING)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stop_asked.wait(), wait_s)

    async def _start(self) -> Running:
        self._said_ready = False
        self._move(PartState.STARTING)
        await self._call(self.part.prepare)
        running = await Running.start(self.part.command(), self.part.environment(), self._hear)
        self._running = running
        self.status.pid, self.status.started = running.pid, started_at(running.pid)
        self._note()
        if self._stop_asked.is_set():
            # `stop` came while we were starting, and found nothing to stop.
            running.kill()
        return running

    async def _watch_until_ready(self, running: Running) -> None:
        """Waits until the part is ready or has ended; ends one that takes too long."""
        deadline = time.monotonic() + self.part.ready_within_s
        while not running.has_ended and not self._stop_asked.is_set():
            if await self._is_ready():
                with suppress(GoneAgainError):
                    await self._call(self.part.once_ready)
                    self._move(PartState.RUNNING)
                    self.ready.set()
                    return
            if time.monotonic() > deadline:
                self._console.stack_says(
                    f"{self.part.name} is not ready after {self.part.ready_within_s:.0f} s; killed"
                )
                running.kill()
                return
            await asyncio.sleep(PROBE_EVERY_S)

    async def _is_ready(self) -> bool:
        if self.part.ready_words:
            return self._said_ready
        return self.part.is_ready is None or await asyncio.to_thread(self.part.is_ready)

    async def _call(self, hook: Callable[[], None]) -> None:
        """Runs a hook beside the loop: it may block."""
        try:
            await asyncio.to_thread(hook)
        except self.part.telling_errors as error:
            self._fail(str(error))

    def _hear(self, line: bytes) -> None:
        self._console.part_says(self.part.name, line)
        words = self.part.ready_words
        if words and words.encode() in line:
            self._said_ready = True

    def _fail(self, why: str) -> None:
        self._move(PartState.FAILED)
        raise PartFailedError(why)

    def _lose_process(self) -> None:
        self.status.pid = self.status.started = None

    def _move(self, state: PartState) -> None:
        self.status.state = state
        self._note()
