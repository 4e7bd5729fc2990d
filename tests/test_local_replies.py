"""Taking the place of mitmproxy's own answers, and giving it back."""

import json

import pytest
from mitmproxy import http
from mitmproxy.proxy import layers
from mitmproxy.proxy.layers.http import _http1

from addon import local_replies, replies


def reply(_: http.HTTPFlow | None, status: int, message: str) -> replies.Reply:
    return replies.json_reply(status, {"message": message})


def let_go(_: http.HTTPFlow, begin: bytes) -> bool | None:
    return True


def test_install_and_undo() -> None:
    """Malformed requests are answered in JSON while installed, and as before afterwards."""
    stream, make = layers.http.HttpStream, _http1.make_error_response
    undo = local_replies.install(reply, let_go, lambda: 9, lambda _: 9, lambda *_: None)
    try:
        assert issubclass(layers.http.HttpStream, stream)
        assert layers.http.HttpStream is not stream
        head, _, body = _http1.make_error_response(400, "words").partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert b"Connection: close" in head
        assert json.loads(body) == {"message": "words"}
    finally:
        undo()
    assert layers.http.HttpStream is stream
    assert _http1.make_error_response is make


@pytest.mark.parametrize("name", ["flow_done", "state_consume_request_body", "check_invalid"])
def test_a_changed_mitmproxy_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What we build on is checked at start, by name."""
    monkeypatch.delattr(layers.http.HttpStream, name)
    with pytest.raises(local_replies.UnsupportedError, match=name):
        local_replies.install(reply, let_go, lambda: 9, lambda _: 9, lambda *_: None)
