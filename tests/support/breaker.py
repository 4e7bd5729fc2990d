"""A mitmproxy script that breaks the engine: a header names the step that raises an exception.

`X-Break: _on_head` makes that method of the exchange raise, and `X-Break: finish` that of the
client's side with HTTP/2. `X-Break: websocket` raises when data arrives on a WebSocket.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from mitmproxy import http
from mitmproxy.proxy import events

STEPS = ("_on_end", "_use", "_on_head", "_on_answer", "_on_answer_end", "_finish")


class Breaker:
    """Replaces methods of the engine with methods that may raise."""

    def websocket_end(self, flow: http.HTTPFlow) -> None:
        """Log the close code of a WebSocket."""
        if flow.websocket is not None:
            logging.warning("websocket_end: %s", flow.websocket.close_code)

    def running(self) -> None:
        """Replace the methods once the engine is loaded."""
        exchange: Any = sys.modules["addon.engine.exchange"].Exchange
        for name in STEPS:
            setattr(exchange, name, _breaking(name, getattr(exchange, name)))
        front: Any = sys.modules["addon.engine.front_http2"].Http2Front
        finish = front.finish

        def breaking(self: Any, key: int) -> None:
            # Raise after hyper-h2 has written something.
            streams = self._streams
            if streams[key].exchange.flow.request.headers.get("X-Break") == "finish":
                self._h2.send_headers(key, [(b":status", object())])
            finish(self, key)

        front.finish = breaking
        websocket: Any = sys.modules["addon.engine.websocket"].WebSocket
        feed = websocket._feed

        def breaking_feed(self: Any, event: Any) -> None:
            breaks = self.flow.request.headers.get("X-Break") == "websocket"
            if breaks and isinstance(event, events.DataReceived):
                raise RuntimeError("secret")
            feed(self, event)

        websocket._feed = breaking_feed


def _breaking(name: str, method: Any) -> Any:
    def step(self: Any, *values: Any) -> Any:
        if self.flow.request.headers.get("X-Break") == name:
            raise RuntimeError("secret")
        return method(self, *values)

    return step


addons = [Breaker()]
