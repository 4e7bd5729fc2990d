"""Keeps workers running behind HAProxy, restarts them one by one, and drains them at the end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Sequence

from ..rules.reload import on_sighup
from .haproxy import HAProxy
from .log import say
from .process import FailedError
from .worker import Worker

PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds until a worker that ended unexpectedly is started again: first pause, and longest."""
LONG = 60.0
"""Seconds after which the end of a worker is not a failed start."""


class Supervisor:
    """HAProxy and the workers behind it.

    Args:
        listen: the address for clients, "0.0.0.0:8080".
        workers: the workers, not started yet.
        haproxy: HAProxy, not started yet.
    """

    def __init__(self, listen: str, workers: Sequence[Worker], haproxy: HAProxy) -> None:
        self.listen = listen
        self.workers = workers
        self._haproxy = haproxy

    async def serve(self) -> None:
        """Start everything, and return after a signal has stopped everything.

        Raises:
            FailedError: a worker or HAProxy does not start, or HAProxy has ended.
        """
        stop, restart = asyncio.Event(), asyncio.Event()
        on_sighup(restart.set, stop.set)
        _on_stop_signal(stop.set)
        work = asyncio.create_task(self._run(restart))
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait([work, stopped], return_when=asyncio.FIRST_COMPLETED)
        _on_stop_signal(self._terminate)
        for task in (work, stopped):
            task.cancel()
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await work
        finally:
            await self._drain()

    async def _run(self, restart: asyncio.Event) -> None:
        await self._start_workers()
        await self._haproxy.start(self.listen, [worker.address for worker in self.workers])
        say(f"{len(self.workers)} worker(s) serve http://{self.listen}")
        async with asyncio.TaskGroup() as tasks:
            for worker in self.workers:
                tasks.create_task(self._keep_running(worker))
            tasks.create_task(self._restart_each_time(restart))
            raise FailedError(f"HAProxy has ended with {await self._haproxy.wait()}")

    async def _start_workers(self) -> None:
        # The first one makes mitmproxy's certificates, which all of them share.
        for some in (self.workers[:1], self.workers[1:]):
            for worker in some:
                await worker.start()
            for worker in some:
                if not await worker.wait_until(Worker.answers):
                    raise FailedError(f"{worker.name} does not start")

    async def _keep_running(self, worker: Worker) -> None:
        pause, since = PAUSE, time.monotonic()
        while worker.process is not None:
            code = await worker.process.wait()
            if worker.stopping:
                say(f"{worker.name} has drained, and is started again")
            else:
                pause = PAUSE if time.monotonic() - since > LONG else min(2 * pause, LONGEST_PAUSE)
                say(f"{worker.name} has ended with {code}, and is started again in {pause:g} s")
                await asyncio.sleep(pause)
            since = time.monotonic()
            await worker.start()
            if await worker.wait_until(Worker.answers) and await worker.wait_until(self._is_used):
                say(f"{worker.name} serves again")
                worker.restarted.set()

    async def _is_used(self, worker: Worker) -> bool:
        return await self._haproxy.sends_to(worker.name)

    async def _restart_each_time(self, restart: asyncio.Event) -> None:
        while True:
            await restart.wait()
            restart.clear()
            say("restarting one worker after another")
            for worker in self.workers:
                worker.restarted.clear()
                worker.terminate()
                await worker.restarted.wait()
            say("all workers were restarted")

    async def _drain(self) -> None:
        if self._haproxy.is_running:
            say("draining; a second signal ends all at once")
            # HAProxy sends no requests to a worker that is about to stop. But now all of them are,
            # and new requests still have to be served.
            await self._haproxy.ignore_health(worker.name for worker in self.workers)
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            if worker.process is not None:
                await worker.process.wait()
        await self._haproxy.stop()

    def _terminate(self) -> None:
        for worker in self.workers:
            worker.terminate()
        self._haproxy.terminate()


def _on_stop_signal(call: Callable[[], object]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, call)
