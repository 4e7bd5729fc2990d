"""The settings for each upstream, adapted to the API that it serves."""

from __future__ import annotations

import logging

from mitmproxy import http

from ..registry import diagnosis
from ..registry.dialect import Ask
from ..registry.dialect_watch import Address, DialectWatch
from ..registry.health_service import HealthService
from ..routing import flow_state, settings
from ..routing.flow_state import FlowState
from ..routing.settings import Settings
from ..rules.model import Mount
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
        self._watched: list[object] = []
        """What the rules say about the upstreams that are watched."""
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
        request = flow.request
        return self.in_force((request.host, request.port)) if self._adapted else self._rules.get()

    def of_mount(self, mount: Settings) -> Settings:
        """Return the settings for new requests to a mount's own upstream.

        Args:
            mount: the settings from the rules.
        """
        found = self._adapted.get(_own(mount.mount)) if mount.mount else None
        return found or mount

    def is_unasked(self, flow: http.HTTPFlow, in_force: Settings) -> bool:
        """Return whether the upstream of a new flow has not been asked yet.

        Args:
            flow: the flow.
            in_force: its settings.
        """
        return _address(flow, in_force) in self.watch.unasked

    async def first_answers(self, flow: http.HTTPFlow, in_force: Settings) -> None:
        """Wait for the first answers of its upstream, but not long; see `is_unasked`."""
        await self.watch.first_answers(_address(flow, in_force))

    def use(self, read: Settings) -> None:
        """Apply new rules."""
        if self._running and self._watched != _watched(read):
            self._begin(read)
        self._adapt()

    def running(self) -> None:
        """Ask the upstreams."""
        self._running = True
        if self._rules.settings is not None:
            self._begin(self._rules.get())

    def done(self) -> None:
        """Stop asking."""
        self.watch.stop()
        self._running = False

    def hint(self, flow: http.HTTPFlow, state: FlowState) -> str:
        """Return that a route may be missing because the upstream's dialect is not known.

        Returns:
            A hint for the client; "" if that is not why.
        """
        paths = state.route.paths if state.route else ()
        address = upstream_of(flow)
        if not paths or not paths[0].startswith("/api/") or not self.watch.is_unknown(address):
            return ""
        return diagnosis.UNKNOWN if len(address) == 2 else diagnosis.UNKNOWN_OF_MOUNT

    def the_other(self, address: Address, state: FlowState) -> Settings | None:
        """Return the settings for a second try of a request; None if its dialect is clear."""
        if (in_force := state.settings) is None or address not in self.watch.unclear:
            return None
        upstream = in_force.rules.upstream
        is_ajax = not upstream.is_external(*address[:2])
        key = (address, is_ajax)
        if key not in self._other_way:
            self._other_way[key] = settings.adapted(
                self._as_read(address) or in_force,
                address[:2],
                is_ajax=is_ajax,
                base_path=upstream.base_path,
            )
        return self._other_way[key]

    def _begin(self, read: Settings) -> None:
        """Find out the dialects of the upstreams for which the rules do not set one."""
        self._watched = _watched(read)
        reverse = listeners.in_reverse_mode()
        upstreams: dict[Address, Ask] = {}
        base_paths: dict[Address, str] = {}

        def add(settings: Settings, address: Address, listener: str, mount: str) -> None:
            rules = settings.rules
            if rules.upstream.dialect == "auto" and not rules.upstream.is_listed(*address[:2]):
                upstreams[address] = self._health.ask(listener, rules.health, mount)
                base_paths[address] = rules.upstream.base_path

        try:
            for mode, listener in reverse:
                add(read, mode.address, listener.url, "")
            for own in read.own or ():
                if own.mount and reverse:
                    add(own, _own(own.mount), reverse[0][1].url, own.mount.path)
        except (OSError, ValueError) as error:  # From values in the environment.
            logger.warning("upstreams cannot be asked, the rules decide: %s", error)
        self.watch.start(upstreams, base_paths)

    def _as_read(self, address: Address) -> Settings | None:
        """Return the settings from the rules for an upstream; None if there are none."""
        read = self._rules.settings
        if read is None or len(address) == 2:
            return read
        return read.own.get(address[2]) if read.own else None

    def _adapt(self) -> None:
        if self._rules.settings is not None:
            self._adapted = {
                address: settings.adapted(
                    read, address[:2], is_ajax=found.dialect == "ajax", base_path=found.base_path
                )
                for address, found in self.watch.findings.items()
                if (read := self._as_read(address)) is not None
            }
            self._other_way = {}


def upstream_of(flow: http.HTTPFlow) -> Address:
    """Return the address of a flow's upstream."""
    return _address(flow, flow_state.of(flow).settings)


def _address(flow: http.HTTPFlow, in_force: Settings | None) -> Address:
    if in_force is None or in_force.mount is None:
        return flow.request.host, flow.request.port
    return _own(in_force.mount)


def _own(mount: Mount) -> Address:
    """Return the address of a mount's own upstream."""
    return (*mount.address, mount.path)


def _watched(read: Settings) -> list[object]:
    mounts = (own.mount for own in read.own or () if own.mount)
    return [read.rules.upstream, *((m.path, m.upstream, m.dialect) for m in mounts)]
