"""Runs several workers behind HAProxy, for `scripts/run.sh --workers N`.

python -m addon.workers.main --workers N --listen HOST:PORT --upstream URL -- OPTIONS...

OPTIONS are for mitmdump; {worker} in them becomes the worker's number.

SIGHUP restarts one worker after another; the next one only after HAProxy sends requests to the new
process. SIGTERM and SIGINT let all of them drain, and a second signal ends them at once. A worker
that ends by itself is started again.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from ..cli import addresses, run
from . import log
from .haproxy import HAProxy
from .process import FailedError
from .supervisor import Supervisor
from .worker import Worker

MITMDUMP = Path(__file__).with_name("mitmdump.py")
"""The script of a worker in place of mitmdump's own."""


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
    command = [sys.executable, "-P", str(MITMDUMP), *run.command(arguments.upstream)[1:]]
    command += arguments.options
    workers = [Worker(number + 1, command) for number in range(arguments.workers)]
    code = 0
    with tempfile.TemporaryDirectory(prefix="mlflow-proxy-") as folder:
        listen = addresses.shown(*arguments.listen)
        try:
            asyncio.run(Supervisor(listen, workers, HAProxy(Path(folder))).serve())
        except* FailedError as errors:
            code = 1
            for error in errors.exceptions:
                log.say(str(error))
    log.finish()
    return code


if __name__ == "__main__":
    sys.exit(main())
