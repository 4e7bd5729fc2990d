"""A mitmproxy script that breaks the engine: a header names the step that raises an exception.

`X-Break: _on_head` makes that step of an exchange raise, and `X-Break: finish` that of the
client's side with HTTP/2. `X-Break: websocket` raises when data arrives on a WebSocket.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from mitmproxy import http
from mitmproxy.proxy import events

STEPS = {
    "_on_end": "asking",
    "_use": "to_registry",
    "_on_head": "answering",
    "_on_answer": "answering",
    "_on_answer_end": "answering",
    "complete": "sending",
}
"""The steps, with their modules."""


class Breaker:
    """Replaces methods of the engine with methods that may raise."""

    def websocket_end(self, flow: http.HTTPFlow) -> None:
        """Log the close code of a WebSocket."""
        if flow.websocket is not None:
            logging.warning("websocket_end: %s", flow.websocket.close_code)

    def running(self) -> None:
        """Replace the methods once the engine is loaded."""
        for name, where in STEPS.items():
            module = sys.modules[f"addon.engine.{where}"]
            setattr(module, name, _breaking(name, getattr(module, name)))
        front: Any = sys.modules["addon.engine.front_http2"].Http2Front
        finish = front.finish

        def breaking(self: Any, key: int) -> None:
            # Raise after hyper-h2 has written something.
            streams = self.streams
            if streams[key].exchange.flow.request.headers.get("X-Break") == "finish":
                self.h2.send_headers(key, [(b":status", object())])
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


def _breaking(name: str, function: Any) -> Any:
    def step(exchange: Any, *values: Any) -> Any:
        if exchange.flow.request.headers.get("X-Break") == name:
            raise RuntimeError("secret")
        return function(exchange, *values)

    return step


addons = [Breaker()]
