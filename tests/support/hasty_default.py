"""A script that makes a second of mitmproxy's ten minutes, as if nobody had set the option."""

from __future__ import annotations

from mitmproxy import ctx
from mitmproxy.addonmanager import Loader


def load(_: Loader) -> None:
    """The option counts as not set."""
    ctx.options._options["tcp_timeout"]._default = 1
