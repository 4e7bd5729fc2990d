"""Commands for mitmproxy's prompt and for mitmweb, to query a running proxy by hand."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from dataclasses import replace

from mitmproxy import command, ctx, exceptions
from mitmproxy.log import ALERT

from ..explain.question import ask, its_upstream, of_mount, server, split
from ..explain.words import Question, counts, summary
from ..hooks.dialects import Dialects
from ..hooks.listeners import in_reverse_mode
from ..hooks.rules_in_force import RulesInForce
from ..registry.dialect_watch import Address, say
from ..registry.health_service import HealthService
from ..routing.rewrite import Origin
from ..routing.settings import Settings
from ..rules.rules_file import RulesError

logger = logging.getLogger(__name__)


class Commands:
    """The commands. mitmproxy shows their signatures and docstrings to users.

    Args:
        in_force: the rules in force.
        dialects: what is known about the upstreams.
        health: checks the registry.
    """

    name = "mlflow-commands"

    def __init__(self, in_force: RulesInForce, dialects: Dialects, health: HealthService) -> None:
        self._rules = in_force
        self._dialects = dialects
        self._health = health
        self._checks: set[asyncio.Task[None]] = set()

    @command.command("mlflow.explain")
    def explain(self, url: str, method: str = "GET") -> Sequence[str]:
        """
        Say what would happen to a request here, and why: mount, rule, artifact switch, path
        upstream. The URL is the one that a client would use for the proxy, or only its path.
        """
        self._in_force()
        try:
            question = self._question(method, url)
            address = (question.upstream.host, question.upstream.port)
            in_force = self._in_force(address if question.reverse else None)
            own = of_mount(in_force, url) if question.reverse else None
            if own is not None and own.mount is not None:
                in_force = self._dialects.of_mount(own)
                known = self._known((*own.mount.address, own.mount.path))
                question = replace(question, upstream=its_upstream(own.mount), known=known)
            return ask(in_force, question).lines()
        except ValueError as error:
            raise exceptions.CommandError(str(error)) from None

    @command.command("mlflow.rules")
    def rules(self) -> Sequence[str]:
        """
        Show the rules in force, in short, with the findings about the upstreams.
        """
        source = f"{ctx.options.mlflow_rules} ({self._rules.state})"
        found = self._dialects.watch.findings.items()
        return summary(self._in_force(), source=source, found=[say(*each) for each in found])

    @command.command("mlflow.reload")
    def reload(self) -> Sequence[str]:
        """
        Read the rules file now. If it has a mistake, the old rules stay in force.
        """
        try:
            self._rules.reload_now()
        except RulesError as error:
            raise exceptions.CommandError(f"the old rules stay in force: {error}") from None
        return [f"{ctx.options.mlflow_rules}: {counts(self._in_force().rules)}"]

    @command.command("mlflow.health")
    def health(self) -> None:
        """
        Check the registries through the proxy, as /health/mlflow does. The results follow in the
        log.
        """
        listeners = [listener.url for _, listener in in_reverse_mode()]
        if not listeners:
            raise exceptions.CommandError("no listener in reverse mode")
        in_force = self._in_force()
        checks = [self._check(listener, in_force) for listener in listeners]
        checks += [self._check(listeners[0], own) for own in in_force.own or ()]
        for check in checks:
            task = asyncio.create_task(check)
            self._checks.add(task)
            task.add_done_callback(self._checks.discard)

    async def _check(self, listener: str, in_force: Settings) -> None:
        base = listener + in_force.rules.mounts_longest_first[-1]
        try:
            reply = await self._health.answer(
                "/health/mlflow",
                base,
                in_force.rules.health,
                rules=self._rules.state,
                draining=False,
                mount=in_force.mount.path if in_force.mount else "",
            )
        except Exception:
            logger.exception("mlflow.health")
            return
        found = json.loads(reply.body)
        level = ALERT if reply.status == 200 else logging.ERROR
        for name, says in {found["status"]: base, **found["probes"]}.items():
            logger.log(level, "%s: %s", name, says)

    def _question(self, method: str, url: str) -> Question:
        authority, _ = split(url)
        listeners = in_reverse_mode()
        if not listeners:
            if not authority:
                raise ValueError(f"{url!r}: expected a whole URL: no listener is in reverse mode")
            return Question(method, url, server(url), reverse=False)
        asked = Origin.of("http", authority)
        mode = next(
            (mode for mode, listener in listeners if asked and asked.port == listener.port),
            listeners[0][0],
        )
        upstream = Origin("http" if mode.scheme == "http" else "https", *mode.address)
        return Question(method, url, upstream, self._known(mode.address))

    def _known(self, upstream: Address) -> str:
        """Return what was detected about an upstream, for people."""
        found = self._dialects.watch.findings.get(upstream)
        return f"detected: {found.reason}" if found else ""

    def _in_force(self, upstream: Address | None = None) -> Settings:
        try:
            return self._dialects.in_force(upstream) if upstream else self._rules.get()
        except RuntimeError as error:
            raise exceptions.CommandError(str(error)) from None
