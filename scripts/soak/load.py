"""Clients that know the right answers, and count all others.

An answer is *right* if it has the expected content, and an *error* if it is a document that
MLflow's client understands. A missing or incomplete answer is *lost*. Any other is *wrong*: a page,
another body, a file other than the uploaded one.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import itertools
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable

SEARCH = "/api/2.0/mlflow/experiments/search?max_results=5"
FILES = "/api/2.0/mlflow-artifacts/artifacts/"
TIMEOUT = 60


class WrongError(Exception):
    """An answer that no client should get."""


def content(name: str) -> bytes:
    """Return the content of a file, which depends only on its name."""
    dice = random.Random(name)  # noqa: S311
    return dice.randbytes(dice.randrange(1, 3 * 2**20))


class Client:
    """One connection, kept alive like those of MLflow's client."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=TIMEOUT)

    def ask(self, method: str, target: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Send a request; return status and body.

        Raises:
            OSError, http.client.HTTPException: there was no complete answer.
        """
        try:
            self._connection.request(method, target, body)
            answer = self._connection.getresponse()
            return answer.status, answer.read()
        except BaseException:
            self._connection.close()
            raise

    def get_right(self, method: str, target: str, body: bytes | None = None) -> bytes | None:
        """Return the body of a right answer; None for an error.

        Raises:
            WrongError: the error is not a document of MLflow's.
        """
        status, got = self.ask(method, target, body)
        if status in (200, 201):
            return got
        with contextlib.suppress(ValueError):
            if status >= 400 and "error_code" in json.loads(got):
                return None
        raise WrongError(f"{method} {target}: {status} {got[:200]!r}")


class Load:
    """Running clients, as a context manager."""

    def __init__(self, url: str, clients: int) -> None:
        self.url = url
        self.counts: Counter[str] = Counter()
        self.examples: list[str] = []
        """Examples of lost or wrong answers."""
        self._numbers = itertools.count()
        self._series = f"{time.time_ns():x}"
        self._there: list[str] = []
        self._doubtful: list[str] = []
        """Uploads without a good answer: the files must be whole or missing, never partial."""
        self._stop = threading.Event()
        self._lock = threading.Lock()
        works = itertools.cycle((self._search, self._upload, self._download))
        self._threads = [
            threading.Thread(target=self._work, args=(next(works),)) for _ in range(clients)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def take(self) -> Counter[str]:
        """Return the counts since the last call."""
        with self._lock:
            counts, self.counts = self.counts, Counter()
            return counts

    def check_doubtful(self) -> int:
        """Return the number of uploads that have left a partial file."""
        client = Client(self.url)
        with self._lock:
            names, self._doubtful = self._doubtful, []
        parts = 0
        for name in names:
            status, body = client.ask("GET", FILES + name)
            if status == 200 and body != content(name):
                parts += 1
                self.examples.append(f"a part of {name} is there: {len(body)} bytes")
        return parts

    def _work(self, work: Callable[[Client], bool]) -> None:
        client = Client(self.url)
        while not self._stop.is_set():
            try:
                outcome = "right" if work(client) else "errors"
            except (OSError, http.client.HTTPException) as error:
                outcome = "lost"
                self.examples.append(f"{work.__name__}: {error!r}")
            except WrongError as error:
                outcome = "wrong"
                self.examples.append(f"{work.__name__}: {error}")
            with self._lock:
                self.counts[outcome] += 1
                self.counts["requests"] += 1
            if outcome != "right":
                self._stop.wait(0.05)

    def _search(self, client: Client) -> bool:
        body = client.get_right("GET", SEARCH)
        if body is not None and "experiments" not in json.loads(body):
            raise WrongError(f"no experiments: {body[:200]!r}")
        return body is not None

    def _upload(self, client: Client) -> bool:
        name = f"soak/{self._series}/{next(self._numbers) % 200}/{next(self._numbers)}"
        with self._lock:
            self._doubtful.append(name)
        answer = client.get_right("PUT", FILES + name, content(name))
        if answer is None:
            return False
        with self._lock:
            if name in self._doubtful:
                self._doubtful.remove(name)
            self._there.append(name)
        return True

    def _download(self, client: Client) -> bool:
        with self._lock:
            name = random.choice(self._there) if self._there else None  # noqa: S311
        if name is None:
            return self._search(client)
        body = client.get_right("GET", FILES + name)
        if body is not None and body != content(name):
            digest = hashlib.sha256(body).hexdigest()[:8]
            raise WrongError(f"{name}: {len(body)} other bytes ({digest})")
        return body is not None
