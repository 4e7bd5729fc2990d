"""Run hooks without a task for each.

mitmproxy starts a task per hook, walks all addons twice in it, once for the hook and once for
`update`, and returns to the connection through the event loop: more than half of the work of a
small request. Here the connection calls the handlers directly. Their choice, their order and the
handling of their exceptions are as in mitmproxy/addonmanager.py; a handler that has to wait gets a
task as before.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from dataclasses import fields
from functools import cache, partial
from pathlib import Path
from typing import Any

from mitmproxy import addonmanager, exceptions, hooks
from mitmproxy.flow import Flow
from mitmproxy.http import HTTPFlow
from mitmproxy.proxy.commands import StartHook
from mitmproxy.proxy.mode_specs import ReverseMode

from ..protocol import headers

_DEFAULT_ADDONS = "mitmproxy.addons."
"""The package of mitmproxy's own addons, whose handlers never change."""

_OURS = f"{(__package__ or '').partition('.')[0]}."
"""This package, whose handlers do not change either."""

_MAIN = str(Path(__file__).parent.with_name("main.py"))
"""The script that mitmproxy has loaded."""

_Handler = Callable[[Any], Any]
_Group = tuple[list[_Handler], list[Any]]
"""The known handlers of an addon, or the addons to look up handlers on each time."""


@types.coroutine
def _in_a_task() -> Generator[None]:
    """Run the code after this in a task (see `engine.top_layer`)."""
    yield


class Dispatcher:
    """Calls the handlers of hooks."""

    def __init__(self, manager: addonmanager.AddonManager) -> None:
        self._manager = manager
        self._chain: list[Any] = []
        self._registered: tuple[int, Any] = (0, None)
        self.begun: dict[StartHook, Any] = {}
        """Hooks that have run in part, with the rest to await."""
        self._known: dict[str, list[_Group]] = {}

    async def run(self, hook: StartHook) -> None:
        """Call the handlers of a connection's hook; wait until an intercepted flow is resumed."""
        if (rest := self.call(hook.name, getattr(hook, _argument(hook.name)))) is not None:
            await rest

    def call(self, name: str, data: Any) -> Coroutine[Any, Any, None] | None:
        """Call the handlers of a hook with its one argument.

        Returns:
            None if all is done; otherwise a coroutine for the rest.
        """
        rest = self._trigger(iter(self._handlers(name)), name, data)
        if rest is not None:
            return self._after(rest, data)
        return self._update(data) if isinstance(data, Flow) else None

    async def _after(self, rest: Coroutine[Any, Any, None], data: Any) -> None:
        await rest
        if isinstance(data, Flow) and (more := self._update(data)) is not None:
            await more

    def _update(self, flow: Flow) -> Coroutine[Any, Any, None] | None:
        """Run the `update` hook; the rest to await is mostly the flow's interception."""
        groups = self._handlers("update")
        rest = self._trigger(iter(groups), "update", [flow]) if groups else None
        return self._wait(rest, flow) if rest is not None or flow.intercepted else None

    async def _wait(self, rest: Coroutine[Any, Any, None] | None, flow: Flow) -> None:
        if rest is not None:
            await rest
        if flow.intercepted:
            await _in_a_task()
            await flow.wait_for_resume()

    def _trigger(
        self, groups: Iterator[_Group], name: str, argument: Any
    ) -> Coroutine[Any, Any, None] | None:
        for known, users in groups:
            handlers = iter(known or [h for a in users if (h := _handler(a, name))])
            try:
                for handler in handlers:
                    result = handler(argument)
                    if result is not None and inspect.isawaitable(result):
                        return self._rest(result, handlers, groups, name, argument)
            except exceptions.AddonHalt:
                return None
            except Exception:
                with addonmanager.safecall():
                    raise
        return None

    async def _rest(
        self,
        result: Awaitable[Any],
        handlers: Iterator[_Handler],
        groups: Iterator[_Group],
        name: str,
        argument: Any,
    ) -> None:
        """Continue `_trigger` from a handler that has to wait."""
        await _in_a_task()
        try:
            await result
            for handler in handlers:
                if (more := handler(argument)) is not None and inspect.isawaitable(more):
                    await more
        except exceptions.AddonHalt:
            return
        except Exception:
            with addonmanager.safecall():
                raise
        if (rest := self._trigger(groups, name, argument)) is not None:
            await rest

    def _handlers(self, name: str) -> list[_Group]:
        """Return for each addon of the chain its handlers, or the addons to look up each time."""
        chain, lookup = self._manager.chain, self._manager.lookup
        # Each change of a script's addons changes one of these.
        registered = (len(lookup), next(reversed(lookup.values()), None))
        if chain != self._chain or registered != self._registered:
            self._chain, self._registered, self._known = [*chain], registered, {}
        if (found := self._known.get(name)) is None:
            found = self._known[name] = []
            for addon in chain:
                with_inner = [*addonmanager.traverse([addon])]
                if not all(_is_known(one) for one in with_inner):
                    found.append(([], with_inner))
                elif handlers := [h for one in with_inner if (h := _handler(one, name))]:
                    needed = _NEEDED.get((type(addon).__name__, name))
                    if needed is not None and type(addon).__module__.startswith(_DEFAULT_ADDONS):
                        handlers = [partial(_call_if, needed, handlers[0])]
                    found.append((handlers, []))
        return found


def _call_if(needed: Callable[[HTTPFlow], bool], handler: _Handler, flow: HTTPFlow) -> Any:
    return handler(flow) if needed(flow) else None


def _may_be_h2c(flow: HTTPFlow) -> bool:
    data = flow.request.data
    return data.method == b"PRI" or b"upgrade" in headers.read(data.headers.fields)


def _has_alt_svc(flow: HTTPFlow) -> bool:
    return flow.response is None or b"alt-svc" in headers.read(flow.response.data.headers.fields)


def _may_ask_for_crl(flow: HTTPFlow) -> bool:
    # The rest of that handler is for the hosts of a forward proxy.
    reverse = type(flow.client_conn.proxy_mode) is ReverseMode
    return not reverse or flow.request.data.path.endswith(b".crl")


_NEEDED = {
    ("DisableH2C", "request"): _may_be_h2c,
    ("TlsConfig", "request"): _may_ask_for_crl,
    ("UpdateAltSvc", "responseheaders"): _has_alt_svc,
}
"""Fast checks for handlers of mitmproxy's own addons that look for a rare case slowly."""


def _is_known(addon: Any) -> bool:
    """Return whether an addon's handlers never change."""
    module = type(addon).__module__
    if isinstance(addon, types.ModuleType):
        return getattr(addon, "__file__", None) == _MAIN
    return module.startswith((_DEFAULT_ADDONS, _OURS))


def _handler(addon: Any, name: str) -> _Handler | None:
    handler = getattr(addon, name, None)
    if not handler or callable(handler):
        return handler
    if isinstance(handler, types.ModuleType):
        return None  # An import of the same name.

    def complain(_: Any) -> None:
        raise exceptions.AddonManagerError(f"Addon handler {name} ({addon}) not callable")

    return complain  # Raise only when it is called.


@cache
def _argument(hook: str) -> str:
    """Return the name of a hook's one argument; `Hook.args` looks it up each time."""
    (field,) = fields(hooks.all_hooks[hook])  # type: ignore[arg-type]
    return field.name
