"""A script that lowers the default of mitmproxy's idle timeout from ten minutes to a second."""

from __future__ import annotations

from mitmproxy import ctx
from mitmproxy.addonmanager import Loader
from mitmproxy.proxy import server


def load(_: Loader) -> None:
    """Change the default, so that the option counts as not set; mitmproxy 11.0 has no option."""
    if "tcp_timeout" in ctx.options:
        ctx.options._options["tcp_timeout"]._default = 1
    else:
        server.TCP_TIMEOUT = 1  # type: ignore[attr-defined]
