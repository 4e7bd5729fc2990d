"""mitmdump without the parts that a reverse proxy does not use.

Some of mitmproxy's addons have hooks that run for every request and do nothing unless one of their
options is set. These addons are taken out of the chain, and put back in their place as soon as one
of their options is set. Scripts stay, and so does everything under mitmweb and mitmproxy, where
options are changed by hand. `inline_hooks` saves the rest of the work per hook.

Each log line also becomes a hook, `add_log`, deprecated since mitmproxy 9: six per connection,
written or not. These hooks are skipped while no script listens, and log records that no handler
would write are not made.
"""

from __future__ import annotations

import logging
from typing import Any

from mitmproxy import addonmanager, ctx, hooks, optmanager
from mitmproxy.addonmanager import Loader
from mitmproxy.connection import Client
from mitmproxy.tools import dump

from ..engine import connections
from ..engine.top_layer import TopLayer
from ..internals.inline_hooks import Dispatcher
from ..internals.place import Part
from ..internals.still_there import lacks
from ..observe import log_guard

logger = logging.getLogger(__name__)
_CONNECTIONS = logging.getLogger(log_guard.CONNECTIONS)

UNUSED = {
    "anticache": ("anticache",),
    "anticomp": ("anticomp",),
    "blocklist": ("block_list",),
    "maplocal": ("map_local",),
    "mapremote": ("map_remote",),
    "modifybody": ("modify_body",),
    "modifyheaders": ("modify_headers",),
    "onboarding": ("onboarding", "onboarding_host"),
    "proxyauth": ("proxyauth",),
    "save": ("save_stream_file", "save_stream_filter"),
    "savehar": ("hardump",),
    "stickyauth": ("stickyauth",),
    "stickycookie": ("stickycookie",),
    "upstreamauth": ("upstream_auth",),
}
"""mitmproxy's addons that do nothing while none of their options is set."""

_WRITES_FLOWS = {"dumper": ("flow_detail",)}
"""Another addon; it does nothing while its option is 0, as with `-q`."""


class Lean:
    """The addon with the option `mlflow_lean`: takes out other addons, and puts them back."""

    name = "mlflow-lean"

    def __init__(self) -> None:
        self._running = False
        self._master: Any = None
        self._order: list[Any] = []
        """The original chain."""
        self._out: dict[str, Any] = {}
        self._dispatcher: Dispatcher | None = None
        """None while the chain is unchanged."""

    def load(self, loader: Loader) -> None:
        """Register the option."""
        loader.add_option(
            "mlflow_lean",
            bool,
            True,
            "Leave out addons of mitmproxy that are not used, and call the others without a task "
            "for each; only in mitmdump.",
        )

    def running(self) -> None:
        """Take out unused addons."""
        self._running = True
        self.switch(ctx.master, ctx.options.mlflow_lean)

    def done(self) -> None:
        """Put all of them back."""
        self._running = False
        self.switch(ctx.master, False)

    def switch(self, master: Any, on: bool) -> None:
        """Take out unused addons, if this is mitmdump, or put all of them back."""
        if on and self._dispatcher is None and not lacks(Part.LEAN):
            if isinstance(master, dump.DumpMaster):
                self._begin(master)
        elif not on and self._dispatcher is not None:
            self._end()

    def _begin(self, master: Any) -> None:
        manager, options = master.addons, master.options
        self._master, self._order = master, [*manager.chain]
        for name, names in UNUSED.items():
            addon = manager.get(name)
            if addon in manager.chain and not any(is_set(options, option) for option in names):
                self._out[name] = addon
        if options.flow_detail == 0:
            self._out["dumper"] = manager.get("dumper")
        # A new list: mitmproxy may be iterating over the old one.
        manager.chain = [addon for addon in self._order if addon not in self._out.values()]
        logger.debug("not used, and left out of the chain: %s", ", ".join(self._out) or "nothing")
        self._dispatcher = Dispatcher(manager)
        master._legacy_log_events.addFilter(self._is_heard)

    def _end(self) -> None:
        for name in [*self._out]:
            self._put_back(name)
        self._dispatcher = None
        self._master._legacy_log_events.removeFilter(self._is_heard)
        _CONNECTIONS.setLevel(logging.NOTSET)

    def client_connected(self, client: Client) -> None:
        """Run the hooks of an admitted client directly."""
        if self._dispatcher is None or client.error:
            return
        if (handler := connections.handler(client)) is not None:
            self.set_level()
            TopLayer(handler, self._dispatcher).install()

    def set_level(self) -> None:
        """Make no log records that no handler writes: six per connection.

        Adding or removing a handler notifies no code, so this runs for each client.
        """
        legacy = self._master._legacy_log_events
        handlers = [h for h in logging.getLogger().handlers if h is not legacy]
        if self._is_heard():
            handlers.append(legacy)
        lowest = min((handler.level for handler in handlers), default=logging.NOTSET)
        if lowest != _CONNECTIONS.level:
            _CONNECTIONS.setLevel(lowest)

    def configure(self, updated: set[str]) -> None:
        """Put back addons whose options have just been set, and call their `configure` hooks.

        Raises:
            OptionsError: such an addon rejects the value.
        """
        options = UNUSED | _WRITES_FLOWS
        for name in [name for name in self._out if not updated.isdisjoint(options[name])]:
            addon = self._put_back(name)
            logger.debug("used from now on, and back in the chain: %s", name)
            self._master.addons.invoke_addon_sync(addon, hooks.ConfigureHook(updated))
        if "mlflow_lean" in updated and self._running:
            self.switch(ctx.master, ctx.options.mlflow_lean)

    def _is_heard(self, _: logging.LogRecord | None = None) -> bool:
        chain = self._master.addons.chain
        return any(hasattr(addon, "add_log") for addon in addonmanager.traverse(chain))

    def _put_back(self, name: str) -> Any:
        addon = self._out.pop(name)
        behind = self._order[self._order.index(addon) + 1 :]
        chain = [*self._master.addons.chain]
        place = next((i for i, present in enumerate(chain) if present in behind), len(chain))
        self._master.addons.chain = [*chain[:place], addon, *chain[place:]]
        return addon


def is_set(options: Any, name: str) -> bool:
    """Return whether an option was set, even to its default."""
    if name not in options:
        return False
    if lacks(Part.OPTIONS):
        return bool(options.has_changed(name))
    return options._options[name].value is not optmanager.unset
