"""Exceptions in the engine: what they may have damaged, and what the log says of them."""

from __future__ import annotations

import traceback
from pathlib import Path

from mitmproxy.flow import Error
from mitmproxy.proxy.layers.http._hooks import HttpErrorHook

from .client_connection import ClientConnection
from .downloads import Downloads
from .exchange import Exchange
from .front_http2 import Http2Front
from .http2_connection import Http2Connection
from .uploads import Uploads

_OF_CONNECTION = (
    *("h2.", "hpack.", "hyperframe."),
    *(
        each.__module__
        for each in (Http2Front, Http2Connection, ClientConnection, Downloads, Uploads)
    ),
)
"""Modules with code of the HTTP/2 connection: names, or their prefixes."""


def described(error: Exception) -> str:
    """Return the type and the place of an exception, without its message."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {last.name} ({Path(last.filename).name}:{last.lineno})"


def is_of_connection(error: Exception) -> bool:
    """Return whether an exception passed through code of the client's HTTP/2 connection."""
    modules = (
        str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__)
    )
    return any(name.startswith(_OF_CONNECTION) for name in modules)


def report(exchange: Exchange) -> None:
    """Report that an exception in the engine has ended an exchange."""
    if exchange.is_open:
        flow = exchange.flow
        flow.error = flow.error or Error("internal error")
        exchange.state.ended_by = "proxy"
        flow.live = False
        exchange.engine.hook(HttpErrorHook, flow, lambda: None)
    exchange.addon.over(exchange.flow)
