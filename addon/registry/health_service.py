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
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, replace
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
_FOR_MOUNT = " for "
"""After that: the mount whose own upstream is asked; its path is not in the request."""

WATCHED = 300
"""Seconds after a question for readiness in which a load balancer may ask again: the longest
interval that those of the clouds offer."""

_Check = tuple[str, str, bool]
"""Base URL and mount (see `HealthService.answer`), and whether it is for readiness only."""

_REACHABLE = Probe(name="upstream", path="/health", expect="any")


async def _none() -> None:
    """Wait for nothing."""


class HealthService:
    """Answers the paths in `rules.HEALTH_PATHS`."""

    def __init__(self) -> None:
        self.token = secrets.token_hex(16)
        """Sent with our own probes, so that the host guard lets them pass."""
        self.readiness: dict[str, tuple[float, bool]] = {}
        """By mount, "" for the upstream of the command line: when it was last checked for /readyz
        (seconds since 1970), and the verdict."""
        self.first_answers: Callable[[], Awaitable[None]] = _none
        """Waits for the registries' APIs to be detected, which probes of the API need."""
        self._asked: float | None = None
        """When somebody asked for readiness, by `time.monotonic`."""
        self._verdicts: dict[_Check, tuple[float, list[probing.Result]]] = {}
        self._running: dict[_Check, asyncio.Task[list[probing.Result]]] = {}

    def sender(self, mark: str | None) -> Sender:
        """Return the sender of a request.

        Args:
            mark: the value of `PROBE_HEADER`, None if there is none.
        """
        if mark is None:
            return "client"
        senders: dict[str, Sender] = {self.token: "probe", self.token + AS_IT_IS: "finder"}
        given = mark.partition(_FOR_MOUNT)[0].encode("utf-8", "surrogateescape")
        # In constant time, so that timing reveals nothing about the token.
        equal = [
            who for token, who in senders.items() if hmac.compare_digest(given, token.encode())
        ]
        return equal[0] if equal else "client"

    def mount(self, mark: str | None) -> str:
        """Return the mount whose own upstream the finder asks, "" for none; see `sender`."""
        return (mark or "").partition(_FOR_MOUNT)[2]

    def is_watched(self) -> bool:
        """Return whether a load balancer seems to ask for readiness.

        No other path tells that the proxy drains, and the container image itself asks for /livez.
        """
        return self._asked is not None and time.monotonic() - self._asked < WATCHED

    async def answer(
        self,
        path: str,
        base: str,
        config: Health,
        *,
        rules: str,
        draining: bool,
        mount: str = "",
    ) -> Reply:
        """Answer a health request.

        Args:
            path: one of `rules.HEALTH_PATHS`.
            base: base URL of a mount at the listener that was asked, "http://127.0.0.1:8080".
            config: timeouts and probes.
            rules: whether the rules in force are those of the file, for people.
            draining: whether the proxy is about to stop.
            mount: the mount, if its own upstream is checked; "" for that of the listener.
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
        results = await self._results((base, mount, ready_only), config)
        state = probing.overall(results)
        status = 503 if state == "critical" else 200
        if ready_only:
            ready = {"status": "ready"} if status == 200 else {"status": "unavailable"}
            return json_reply(status, ready | {"message": results[0].message, "rules": rules})
        content: dict[str, Any] = {"status": state}
        if path.endswith("/detailed"):
            content["probes"] = [asdict(result) for result in results]
        else:
            content["probes"] = {result.name: result.message for result in results}
        return json_reply(status, content)

    async def _results(self, key: _Check, config: Health) -> list[probing.Result]:
        done_at, results = self._verdicts.get(key, (0.0, []))
        if results and time.monotonic() - done_at < config.cache:
            return results
        if (task := self._running.get(key)) is None:
            probes = [_REACHABLE] if key[-1] else config.probes
            task = asyncio.create_task(self._check(key, config, probes))
            self._running[key] = task
            task.add_done_callback(lambda _: self._running.pop(key, None))
        # A caller that leaves must not cancel the check for the others.
        return await asyncio.shield(task)

    async def _check(
        self, key: _Check, config: Health, probes: Sequence[Probe]
    ) -> list[probing.Result]:
        base, mount, ready_only = key
        if not ready_only:
            await self.first_answers()
        client = self._client(base, config, self.token, mount)
        results = await asyncio.to_thread(probing.run, client, probes)
        self._verdicts[key] = (time.monotonic(), results)
        if ready_only:
            self.readiness[mount] = (time.time(), probing.overall(results) != "critical")
        return results

    def ask(self, listener: str, config: Health, mount: str = "") -> Callable[[str], Answer]:
        """Return a function that asks an upstream for a path, without rewriting.

        Args:
            listener: base URL of a listener.
            config: the timeout.
            mount: the mount whose own upstream is asked; "" for that of the listener.
        """
        mark = self.token + AS_IT_IS + (_FOR_MOUNT + mount if mount else "")
        return partial(self._client(listener, config, mark, mount).send, "GET")

    def _client(self, url: str, config: Health, mark: str, mount: str) -> Client:
        client = client_from_environment(url, config.timeout)
        if mount:
            # Those of the environment are for the registry of the command line alone.
            client = replace(client, authorization=None)
        return replace(client, headers={PROBE_HEADER: mark})
