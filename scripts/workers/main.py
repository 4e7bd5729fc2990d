"""Runs several workers behind HAProxy, for `scripts/run.sh --workers N`.

python scripts/workers/main.py --workers N --listen HOST:PORT --upstream URL -- OPTIONS...

OPTIONS are for mitmdump; {worker} in them becomes the worker's number.

SIGHUP restarts one worker after another; the next one only after HAProxy sends requests to the new
process. SIGTERM and SIGINT let all of them drain, and a second signal ends them at once. A worker
that ends by itself is started again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import csv
import logging
import signal
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from install import programs
from workers import haproxy_config
from workers.worker import INTERVAL, Worker, run

from addon.cli import run as cli_run
from addon.observe.line_writer import AT_THE_END, LineWriter, is_file
from addon.protocol import addresses

MAIN = Path(__file__).with_name("mitmdump.py")
"""The script of a worker in place of mitmdump's own."""

PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds until a worker that ended by itself is started again: first pause, and longest."""
LONG = 60.0
"""Seconds after which the end of a worker is not a failed start."""


class FailedError(Exception):
    """A worker or HAProxy cannot start, or HAProxy has ended."""


class Site:
    """HAProxy and the workers behind it."""

    def __init__(self, listen: str, workers: Sequence[Worker], folder: Path) -> None:
        self.listen = listen
        self.workers = workers
        self._haproxy: Process | None = None
        self._passing_on: asyncio.Task[None] | None = None
        self._config = folder / "haproxy.cfg"
        self._socket = folder / "haproxy.sock"

    async def serve(self) -> None:
        """Start everything, and return after a signal has stopped everything.

        Raises:
            FailedError: a worker or HAProxy does not start, or HAProxy has ended.
        """
        stop, again = asyncio.Event(), asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, again.set)
        _upon_end(stop.set)
        work = asyncio.create_task(self._work(again))
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait([work, stopped], return_when=asyncio.FIRST_COMPLETED)
        _upon_end(self._end_at_once)
        for task in (work, stopped):
            task.cancel()
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await work
        finally:
            await self._drain()

    async def _work(self, again: asyncio.Event) -> None:
        await self._start_workers()
        haproxy = await self._start_haproxy()
        say(f"{len(self.workers)} worker(s) serve http://{self.listen}")
        async with asyncio.TaskGroup() as tasks:
            for worker in self.workers:
                tasks.create_task(self._keep(worker))
            tasks.create_task(self._restart_upon(again))
            raise FailedError(f"HAProxy has ended with {await haproxy.wait()}")

    async def _start_workers(self) -> None:
        # The first one makes mitmproxy's certificates, which all of them share.
        for some in (self.workers[:1], self.workers[1:]):
            for worker in some:
                await worker.start()
            for worker in some:
                if not await worker.waits_for(Worker.answers):
                    raise FailedError(f"{worker.name} does not start")

    async def _start_haproxy(self) -> Process:
        addresses = [worker.address for worker in self.workers]
        text = haproxy_config.config(self.listen, addresses, socket=self._socket)
        self._config.write_text(text, encoding="utf-8")
        # In a thread, because the program may have to be downloaded.
        program = await asyncio.to_thread(programs.binary, "haproxy")
        self._haproxy = haproxy = await run(
            [str(program), "-db", "-f", str(self._config)], stdout=PIPE, stderr=STDOUT
        )
        self._passing_on = asyncio.create_task(pass_on(haproxy))
        while not await self._haproxy_runs():
            if haproxy.returncode is not None:
                raise FailedError("HAProxy does not start")
            await asyncio.sleep(INTERVAL)
        return haproxy

    async def _haproxy_runs(self) -> bool:
        try:
            return bool(await self._ask("show info"))
        except OSError:
            return False

    async def _keep(self, worker: Worker) -> None:
        """Start a worker again whenever it has ended."""
        pause, since = PAUSE, time.monotonic()
        while worker.process is not None:
            code = await worker.process.wait()
            if worker.leaving:
                say(f"{worker.name} has drained, and is started again")
            else:
                pause = PAUSE if time.monotonic() - since > LONG else min(2 * pause, LONGEST_PAUSE)
                say(f"{worker.name} has ended with {code}, and is started again in {pause:g} s")
                await asyncio.sleep(pause)
            since = time.monotonic()
            await worker.start()
            if await worker.waits_for(Worker.answers) and await worker.waits_for(self._is_up):
                say(f"{worker.name} serves again")
                worker.back.set()

    async def _restart_upon(self, again: asyncio.Event) -> None:
        while True:
            await again.wait()
            again.clear()
            say("restarting one worker after another")
            for worker in self.workers:
                worker.back.clear()
                worker.terminate()
                await worker.back.wait()
            say("all workers were restarted")

    async def _is_up(self, worker: Worker) -> bool:
        """Return whether HAProxy sends requests to a worker."""
        rows = csv.DictReader((await self._ask("show stat")).removeprefix("# ").splitlines())
        return any(r["svname"] == worker.name and r["status"].startswith("UP") for r in rows)

    async def _ask(self, command: str) -> str:
        reader, writer = await asyncio.open_unix_connection(self._socket)
        writer.write(command.encode() + b"\n")
        answer = await reader.read()
        writer.close()
        return answer.decode()

    async def _drain(self) -> None:
        haproxy = self._haproxy
        if haproxy is not None and haproxy.returncode is None:
            say("draining; a second signal ends all at once")
            # HAProxy sends no requests to a worker that is about to stop. But now all of them are,
            # and new requests still have to be served.
            with contextlib.suppress(OSError):  # A second signal ends HAProxy.
                for worker in self.workers:
                    await self._ask(f"disable health workers/{worker.name}")
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            if worker.process is not None:
                await worker.process.wait()
        if haproxy is not None:
            # It may still have to send the last bytes.
            with contextlib.suppress(ProcessLookupError):
                haproxy.send_signal(signal.SIGUSR1)
            await haproxy.wait()
        if self._passing_on is not None:
            await self._passing_on

    def _end_at_once(self) -> None:
        for worker in self.workers:
            worker.terminate()
        if self._haproxy is not None and self._haproxy.returncode is None:
            self._haproxy.terminate()


def _upon_end(call: Callable[[], object]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, call)


# A pipe without a reader must not block restarts or draining.
_log = LineWriter("workers", lambda: 2, at_once=is_file(2))
logging.getLogger("addon").addHandler(logging.NullHandler())


def say(text: str) -> None:
    """Write a line to the log."""
    _log.put(f"workers: {text}\n".encode())


async def pass_on(haproxy: Process) -> None:
    """Log HAProxy's output, so that HAProxy never waits for a reader."""
    assert haproxy.stdout is not None
    while text := await haproxy.stdout.read(65536):
        _log.put(text)


def main() -> int:
    """Serve until a signal; return 0, or 1 after a failure."""
    parser = argparse.ArgumentParser(prog="scripts/run.sh", description=__doc__)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--listen", type=addresses.listen, required=True)
    parser.add_argument("--upstream", type=addresses.upstream, required=True)
    parser.add_argument("options", nargs="*")
    arguments = parser.parse_args()
    if problem := addresses.problem(*arguments.listen):
        sys.exit(f"workers: {problem}")
    code = 0
    with tempfile.TemporaryDirectory(prefix="mlflow-proxy-") as folder:
        command = [sys.executable, "-P", str(MAIN), *cli_run.command(arguments.upstream)[1:]]
        command += arguments.options
        workers = [Worker(number + 1, command) for number in range(arguments.workers)]
        try:
            asyncio.run(Site(addresses.shown(*arguments.listen), workers, Path(folder)).serve())
        except* FailedError as errors:
            code = 1
            for error in errors.exceptions:
                say(str(error))
    _log.wait(AT_THE_END)
    return code


if __name__ == "__main__":
    sys.exit(main())
