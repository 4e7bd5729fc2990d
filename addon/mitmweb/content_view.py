"""The content view "MLflow" of mitmweb and mitmproxy, for both of mitmproxy's interfaces.

mitmproxy 12 calls `prettify` and `render_priority` with one object that describes the message.
mitmproxy 11 calls the view itself, and passes the same by keywords.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mitmproxy import contentviews, flow, http

from ..protocol import bodies
from . import mlflow_text, shown


class MlflowView:
    """Shows JSON of MLflow's API, and for converted errors also the upstream's answer."""

    name = "MLflow"
    syntax_highlight = "none"

    def prettify(self, data: bytes, metadata: Any) -> str:
        """Return the text (mitmproxy 12)."""
        return _text(data, metadata.flow, metadata.http_message)

    def __call__(
        self,
        data: bytes,
        *,
        flow: flow.Flow | None = None,
        http_message: http.Message | None = None,
        **_: object,
    ) -> tuple[str, Iterator[list[tuple[str, str]]]]:
        """Return the name and the lines (mitmproxy 11)."""
        lines = _text(data, flow, http_message).splitlines()
        return self.name, ([("text", line)] for line in lines)

    def render_priority(
        self,
        data: bytes,
        metadata: Any = None,
        *,
        flow: flow.Flow | None = None,
        http_message: http.Message | None = None,
        **_: object,
    ) -> float:
        """Return more than mitmproxy's JSON view for JSON of the API that is not an artifact."""
        if metadata is not None:
            flow, http_message = metadata.flow, metadata.http_message
        if not data or not shown.is_json_of_api(flow):
            return -1
        content_type = http_message.headers.get("content-type", "") if http_message else ""
        return 2 if bodies.is_json(content_type) else -1

    def __lt__(self, other: Any) -> bool:
        return bool(self.name < other.name)


def add() -> None:
    """Register the view, in place of one from an earlier load of the script."""
    views: Any = contentviews
    if not hasattr(views, "registry") and (old := views.get(MlflowView.name)):
        views.remove(old)
    views.add(MlflowView())


def _text(data: bytes, flow: flow.Flow | None, message: http.Message | None) -> str:
    text = mlflow_text.render(data)
    original = shown.original(flow)
    if original is None or not isinstance(message, http.Response):
        return text
    decoded = bodies.decode(original.body, original.encoding)
    # If it cannot be decoded, show its bytes.
    body = (decoded and decoded.content) or original.body
    size = f"{len(original.body)} bytes" + ("" if original.whole else ", the beginning")
    kind = original.content_type or "without a Content-Type"
    sent = mlflow_text.plain(body) or "(nothing)"
    # With a blank, because mitmweb gives an empty line no height.
    return f"{text}\n \n--- Upstream error: {original.status}, {kind}, {size} ---\n \n{sent}"
