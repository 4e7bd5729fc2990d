"""All addons, loaded as by mitmproxy; runs their hooks in mitmproxy's order."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, TypeVar

from mitmproxy import hooks, http
from mitmproxy.proxy import mode_specs
from mitmproxy.test import taddons, tflow, tutils

from addon import assembly
from addon.hooks.traffic import Traffic

T = TypeVar("T")


class Assembled:
    """All addons in a test context; `options` configures them.

    Args:
        context: the context to add them to, as a script's addons.
    """

    def __init__(self, context: taddons.context) -> None:
        self._context = context
        self.addons = assembly.addons()
        self._script = SimpleNamespace(name="script", addons=self.addons)
        context.master.addons.add(self._script)

    def the(self, kind: type[T]) -> T:
        """Return the addon of this class."""
        (found,) = [addon for addon in self.addons if isinstance(addon, kind)]
        return found

    @property
    def traffic(self) -> Traffic:
        """The addon for HTTP."""
        return self.the(Traffic)

    def options(self, **values: Any) -> None:
        """Set options."""
        self._context.configure(self._script, **values)

    def run(self, hook: str, argument: Any) -> Any:
        """Run a hook; the result must be awaited if it is not None."""
        waits = None
        for addon in self.addons:
            handler = getattr(addon, hook, None)
            result = handler(argument) if callable(handler) else None
            waits = waits if result is None else result
        return waits

    def done(self) -> None:
        """Undo all changes."""
        self._context.master.addons.invoke_addon_sync(self._script, hooks.DoneHook())


def make_flow(
    path: str,
    *,
    method: str = "GET",
    host: str = "registry.hokus.ai",
    headers: dict[str, str] | None = None,
    content: bytes | None = b"",
    mode: str = "reverse:http://upstream",
) -> http.HTTPFlow:
    """Return a flow with a request, as in reverse mode if nothing else is said."""
    fields = http.Headers([(k.encode(), v.encode()) for k, v in (headers or {}).items()])
    request = tutils.treq(
        method=method.encode(),
        host=host,
        port=80,
        path=path.encode("utf-8", "surrogateescape"),
        headers=fields,
        content=content,
    )
    flow = tflow.tflow(req=request)
    flow.client_conn.proxy_mode = mode_specs.ProxyMode.parse(mode)
    return flow


def respond(
    addon: Assembled,
    flow: http.HTTPFlow,
    *,
    status: int = 200,
    content: bytes = b"",
    headers: dict[str, str],
) -> http.Response:
    """Give a flow an answer of the upstream, and return what the hooks make of it."""
    flow.response = http.Response.make(status, content, headers)
    addon.run("responseheaders", flow)
    addon.run("response", flow)
    return flow.response
