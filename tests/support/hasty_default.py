"""A script that makes a second of mitmproxy's ten minutes, as if nobody had set the option."""

from __future__ import annotations

from mitmproxy import ctx
from mitmproxy.addonmanager import Loader
from mitmproxy.proxy import server


def load(_: Loader) -> None:
    """The option counts as not set; mitmproxy 11.0 has none."""
    if "tcp_timeout" in ctx.options:
        ctx.options._options["tcp_timeout"]._default = 1
    else:
        server.TCP_TIMEOUT = 1  # type: ignore[attr-defined]
