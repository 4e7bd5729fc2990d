"""The settings for each upstream, adapted to the API that it serves."""

from __future__ import annotations

import logging

from mitmproxy import http

from ..registry.dialect_watch import Address, DialectWatch
from ..registry.health_service import HealthService
from ..routing import settings
from ..routing.flow_state import FlowState
from ..routing.settings import Settings
from ..rules.model import Rules, Upstream
from . import listeners
from .rules_in_force import RulesInForce

logger = logging.getLogger(__name__)


class Dialects:
    """The addon that detects dialects while the proxy runs.

    Args:
        rules: the rules in force.
        health: asks the upstreams.
    """

    name = "mlflow-dialects"

    def __init__(self, rules: RulesInForce, health: HealthService) -> None:
        self._rules = rules
        self._health = health
        self.watch = DialectWatch(self._adapt)
        self._running = False
        self._watched: Upstream | None = None
        """The section of the rules by which upstreams are watched."""
        self._adapted: dict[Address, Settings] = {}
        """The settings for upstreams whose API is known."""
        self._other_way: dict[tuple[Address, bool], Settings] = {}
        """The settings of the other dialect, for upstreams whose dialect is unclear."""

    def in_force(self, address: Address) -> Settings:
        """Return the settings for new requests to an upstream.

        Raises:
            RuntimeError: no rules are loaded.
        """
        return self._adapted.get(address) or self._rules.get()

    def of(self, flow: http.HTTPFlow) -> Settings:
        """Return the settings for a new flow in reverse mode; see `in_force`."""
        return self.in_force(upstream_of(flow)) if self._adapted else self._rules.get()

    def use(self, read: Settings) -> None:
        """Apply new rules."""
        if self._running and self._watched != read.rules.upstream:
            self._begin(read.rules)
        self._adapt()

    def running(self) -> None:
        """Ask the upstreams."""
        self._running = True
        if self._rules.settings is not None:
            self._begin(self._rules.get().rules)

    def done(self) -> None:
        """Stop asking."""
        self.watch.stop()
        self._running = False

    def may_be_why(self, flow: http.HTTPFlow, state: FlowState) -> bool:
        """Return whether a route may be missing because the upstream's dialect is not known."""
        paths = state.route.paths if state.route else ()
        below_api = bool(paths) and paths[0].startswith("/api/")
        return below_api and self.watch.is_unknown(upstream_of(flow))

    def the_other(self, address: Address, state: FlowState) -> Settings | None:
        """Return the settings for a second try of a request; None if its dialect is clear."""
        if (in_force := state.settings) is None or address not in self.watch.unclear:
            return None
        upstream = in_force.rules.upstream
        is_ajax = not upstream.is_external(*address)
        key = (address, is_ajax)
        if key not in self._other_way:
            self._other_way[key] = settings.adapted(
                self._rules.settings or in_force,
                address,
                is_ajax=is_ajax,
                base_path=upstream.base_path,
            )
        return self._other_way[key]

    def _begin(self, rules: Rules) -> None:
        """Find out the dialects of the upstreams for which the rules do not set one."""
        config, upstreams = rules.upstream, {}
        self._watched = config
        for mode, listener in listeners.in_reverse_mode() if config.dialect == "auto" else ():
            if not config.is_listed(*mode.address):
                try:
                    upstreams[mode.address] = self._health.ask(listener.url, rules.health)
                except (OSError, ValueError) as error:  # From values in the environment.
                    logger.warning("upstreams cannot be asked, the rules decide: %s", error)
        self.watch.start(upstreams, config.base_path)

    def _adapt(self) -> None:
        if (read := self._rules.settings) is not None:
            self._adapted = {
                address: settings.adapted(
                    read, address, is_ajax=found.dialect == "ajax", base_path=found.base_path
                )
                for address, found in self.watch.findings.items()
            }
            self._other_way = {}


def upstream_of(flow: http.HTTPFlow) -> Address:
    """Return host and port of a flow's upstream."""
    return flow.request.host, flow.request.port
