"""Runs several workers behind HAProxy, for `mlflow-proxy run --workers N`."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from . import haproxy, log
from .process import FailedError
from .supervisor import Supervisor
from .worker import Worker

MITMDUMP = Path(__file__).with_name("mitmdump.py")
"""The script of a worker in place of mitmdump's own."""


def serve(listen: str, count: int, options: Sequence[str]) -> int:
    """Serve until a signal; return 0, or 1 after a failure.

    SIGHUP restarts one worker after another; the next one only after HAProxy sends requests to the
    new process. SIGTERM, SIGINT and the end of the terminal let all of them drain, and a second
    signal ends them at once. A worker that ends unexpectedly is started again.

    Args:
        listen: the address for clients, "0.0.0.0:8080".
        count: the number of workers.
        options: for mitmdump; {worker} in them becomes the worker's number.
    """
    code = 0
    try:
        program = haproxy.find()
        command = [sys.executable, "-P", str(MITMDUMP), *options]
        workers = [Worker(number + 1, command) for number in range(count)]
        with tempfile.TemporaryDirectory(prefix="mlflow-proxy-") as folder:
            balancer = haproxy.HAProxy(program, Path(folder))
            asyncio.run(Supervisor(listen, workers, balancer).serve())
    except* FailedError as errors:
        code = 1
        for error in errors.exceptions:
            log.say(str(error))
    log.finish()
    return code
