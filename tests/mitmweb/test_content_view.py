"""The content view: when it is offered, and how it shows a converted error."""

from __future__ import annotations

import gzip
from dataclasses import asdict

import pytest
from mitmproxy import http
from mitmproxy.test import tflow

from addon.errors.upstream import Answer
from addon.mitmweb.content_view import MlflowView
from addon.routing.flow_state import METADATA

JSON = "application/json"


def flow(*, api: bool = True, file: bool = False, content_type: str = JSON) -> http.HTTPFlow:
    """Return a flow with an answer and the addon's metadata."""
    made = tflow.tflow(resp=http.Response.make(200, b"{}", {"Content-Type": content_type}))
    made.metadata[METADATA] = {"api": api, "file": file}
    return made


def shown(body: bytes, of: http.HTTPFlow, message: http.Message | None) -> str:
    """Render by the interface of mitmproxy 11; the text is the same with the newer one."""
    _, lines = MlflowView()(body, flow=of, http_message=message)
    return "\n".join(text for line in lines for _, text in line)


@pytest.mark.parametrize(
    ("body", "how", "priority"),
    [
        (b"{}", {}, 2),
        (b"", {}, -1),
        (b"{}", {"api": False}, -1),
        (b"{}", {"file": True}, -1),
        (b"{}", {"content_type": "text/html"}, -1),
    ],
)
def test_priority(body: bytes, how: dict[str, bool], priority: float) -> None:
    """The view is offered only for the API's JSON."""
    of = flow(**how)  # type: ignore[arg-type]
    assert MlflowView().render_priority(body, flow=of, http_message=of.response) == priority


@pytest.mark.parametrize("coding", ["gzip", "unheard-of"])
def test_a_body_that_cannot_be_decoded(coding: str) -> None:
    """A body that cannot be decoded is shown as bytes."""
    of = flow()
    original = Answer(500, "", coding, b"down", True)
    of.metadata[METADATA]["original"] = asdict(original)
    assert shown(b"{}", of, of.response).endswith("\n \ndown")


def test_other_flows() -> None:
    """The view is not offered for a flow that the addon has not seen, or that is not HTTP."""
    assert MlflowView().render_priority(b"{}", flow=tflow.tflow(resp=True)) == -1
    assert MlflowView().render_priority(b"{}", flow=tflow.ttcpflow()) == -1
    assert MlflowView().render_priority(b"{}") == -1


@pytest.mark.parametrize(
    ("original", "said"),
    [
        (Answer(404, "text/html", "", b"<h1>", True), "404, text/html, 4 bytes ---\n \n<h1>"),
        (
            Answer(404, "text/html", "", b"<h1", False),
            "404, text/html, 3 bytes, the beginning ---\n \n<h1",
        ),
        (
            Answer(502, "", "", b"", True),
            "502, without a Content-Type, 0 bytes ---\n \n(nothing)",
        ),
        (
            Answer(500, "text/plain", "gzip", gzip.compress(b"down", mtime=0), True),
            "500, text/plain, 24 bytes ---\n \ndown",
        ),
        (
            Answer(500, "text/plain", "gzip", b"down", True),
            "500, text/plain, 4 bytes ---\n \ndown",
        ),
    ],
)
def test_an_error_that_was_converted(original: Answer, said: str) -> None:
    """The original error is shown below the answer, and not below the request."""
    of = flow()
    of.metadata[METADATA]["original"] = asdict(original)
    text = shown(b'{"a": 1}', of, of.response)
    assert text == f"a  1\n \n--- Upstream error: {said}"
    assert shown(b'{"a": 1}', of, of.request) == "a  1"
