"""Load from wrk: each connection sends its next request as soon as it has an answer."""

from __future__ import annotations

import subprocess
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import lab


class LoadError(RuntimeError):
    """Not every request got a good answer."""


@dataclass(frozen=True)
class Load:
    """The results of wrk."""

    rate: float
    """Requests per second."""
    latency: float
    """Median, in milliseconds."""


def load(
    url: str, connections: int, seconds: float, *, method: str = "GET", size: int | None = None
) -> Load:
    """Put load on a server.

    Args:
        url: the URL to request.
        connections: connections, and so requests in flight at any time.
        seconds: duration, a whole number.
        method: of the request.
        size: bytes of its body; none by default.

    Raises:
        LoadError: there were answers other than 2xx, or no answers.
    """
    body = None if size is None else b"x" * size
    probe = urllib.request.Request(url, body, method=method)  # noqa: S310
    # Raises unless the answer is 2xx; wrk itself does not count redirects as errors.
    with urllib.request.urlopen(probe, timeout=30) as answer:  # noqa: S310
        answer.read()
    command: list[str | Path] = [lab.binary("wrk"), "-t1", f"-c{connections}"]
    command += [f"-d{round(seconds)}s", "--timeout", "20s"]
    command += ["-s", Path(__file__).with_name("wrk.lua"), url]
    if size is not None:
        command += ["--", method, str(size)]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    numbers = [int(text) for text in run.stdout.partition("RESULT ")[2].split()]
    requests, duration, latency, *errors = numbers
    if any(errors) or not requests:
        raise LoadError(f"{url}: {requests} requests, and errors:\n{run.stdout}")
    return Load(requests / duration * 1e6, latency / 1e3)
