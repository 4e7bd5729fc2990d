"""The HTTP health endpoints, with probes that the proxy sends to itself.

A probe goes to the listener that was asked, like a client's request, so that the verdict covers
rules, rewriting and the connection upstream. Verdicts are reused for a short time, and each
listener runs one check at a time, so that callers cannot cause many requests.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ..errors.replies import Reply, json_reply
from ..routing.admission import Sender
from ..rules.model import Health, Probe
from . import probes as probing
from .answers import Answer
from .client import Client, client_from_environment

PROBE_HEADER = "X-MLflow-Proxy-Probe"
PROBE_KEY = PROBE_HEADER.lower().encode()
AS_IT_IS = " as it is"
"""After the token: the request goes upstream without being rewritten."""

WATCHED = 300
"""Seconds after a question for readiness in which a load balancer may ask again: the longest
interval that those of the clouds offer."""

_REACHABLE = Probe(name="upstream", path="/health", expect="any")


class HealthService:
    """Answers the paths in `rules.HEALTH_PATHS`."""

    def __init__(self) -> None:
        self.token = secrets.token_hex(16)
        """Sent with our own probes, so that the host guard lets them pass."""
        self.readiness: tuple[float, bool] | None = None
        """When the upstream was last checked for /readyz (seconds since 1970), and the verdict."""
        self._asked: float | None = None
        """When somebody asked for readiness, by `time.monotonic`."""
        self._verdicts: dict[tuple[str, bool], tuple[float, list[probing.Result]]] = {}
        self._running: dict[tuple[str, bool], asyncio.Task[list[probing.Result]]] = {}

    def sender(self, mark: str | None) -> Sender:
        """Return the sender of a request.

        Args:
            mark: the value of `PROBE_HEADER`, None if there is none.
        """
        if mark is None:
            return "client"
        senders: dict[str, Sender] = {self.token: "probe", self.token + AS_IT_IS: "finder"}
        given = mark.encode("utf-8", "surrogateescape")
        # In constant time, so that timing reveals nothing about the token.
        equal = [
            who for token, who in senders.items() if hmac.compare_digest(given, token.encode())
        ]
        return equal[0] if equal else "client"

    def is_watched(self) -> bool:
        """Return whether a load balancer seems to ask for readiness.

        No other path tells that the proxy drains, and the container image itself asks for /livez.
        """
        return self._asked is not None and time.monotonic() - self._asked < WATCHED

    async def answer(
        self, path: str, listener: str, config: Health, *, rules: str, draining: bool
    ) -> Reply:
        """Answer a health request.

        Args:
            path: one of `rules.HEALTH_PATHS`.
            listener: base URL of the listener that was asked, "http://127.0.0.1:8080".
            config: timeouts and probes.
            rules: whether the rules in force are those of the file, for people.
            draining: whether the proxy is about to stop.
        """
        if path == "/livez":
            return json_reply(200, {"status": "alive"})
        if path.startswith("/readyz"):
            self._asked = time.monotonic()
            if draining:
                message = "this proxy is about to stop"
                return json_reply(503, {"status": "draining", "message": message, "rules": rules})
        if path == "/readyz/local":
            return json_reply(200, {"status": "ready", "rules": rules})
        ready_only = path == "/readyz"
        results = await self._results(listener, config, ready_only)
        state = probing.overall(results)
        status = 503 if state == "critical" else 200
        if ready_only:
            ready = {"status": "ready"} if status == 200 else {"status": "unavailable"}
            return json_reply(status, ready | {"message": results[0].message, "rules": rules})
        content: dict[str, Any] = {"status": state}
        if path.endswith("/detailed"):
            content["probes"] = [result.as_json() for result in results]
        else:
            content["probes"] = {result.name: result.message for result in results}
        return json_reply(status, content)

    async def _results(
        self, listener: str, config: Health, ready_only: bool
    ) -> list[probing.Result]:
        key = (listener, ready_only)
        done_at, results = self._verdicts.get(key, (0.0, []))
        if results and time.monotonic() - done_at < config.cache:
            return results
        if (task := self._running.get(key)) is None:
            probes = [_REACHABLE] if ready_only else config.probes
            task = asyncio.create_task(self._check(key, config, probes))
            self._running[key] = task
            task.add_done_callback(lambda _: self._running.pop(key, None))
        # A caller that leaves must not cancel the check for the others.
        return await asyncio.shield(task)

    async def _check(
        self, key: tuple[str, bool], config: Health, probes: Sequence[Probe]
    ) -> list[probing.Result]:
        listener, ready_only = key
        client = self._client(listener, config, self.token)
        results = await asyncio.to_thread(probing.run, client, probes)
        self._verdicts[key] = (time.monotonic(), results)
        if ready_only:
            self.readiness = (time.time(), probing.overall(results) != "critical")
        return results

    def ask(self, listener: str, config: Health) -> Callable[[str], Answer]:
        """Return a function that asks the upstream of a listener for a path, without rewriting."""
        client = self._client(listener, config, self.token + AS_IT_IS)
        return partial(client.send, "GET")

    def _client(self, listener: str, config: Health, token: str) -> Client:
        client = client_from_environment(listener, config.timeout)
        return replace(client, headers={PROBE_HEADER: token})
