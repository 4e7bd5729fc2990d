"""Taking the place of parts of mitmproxy, and giving it back."""

from __future__ import annotations

import json

import pytest
from mitmproxy.proxy import layers
from mitmproxy.proxy.layers.http import _http1

from addon import http_layer
from addon.proxy import MlflowProxy


def parts() -> list[object]:
    return [getattr(module, name) for module, name in http_layer._PLACES]


def test_install_and_undo() -> None:
    """Malformed requests are answered in JSON while installed, and as before afterwards."""
    before = parts()
    undo = http_layer.install(MlflowProxy())
    try:
        assert not {*map(id, before)} & {*map(id, parts())}
        head, _, body = _http1.make_error_response(400, "words").partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert b"Connection: close" in head
        assert json.loads(body)["source"] == "proxy"
    finally:
        undo()
    assert parts() == before


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (layers.http.HttpStream, "flow_done"),
        (layers.http.HttpStream, "check_invalid"),
        (_http1.Http1Connection, "read_body"),
        (_http1, "make_body_reader"),
        (layers.http, "Http2Client"),
    ],
)
def test_a_changed_mitmproxy_is_noticed(
    owner: object, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What we build on is checked at start, by name."""
    monkeypatch.delattr(owner, name)
    with pytest.raises(http_layer.UnsupportedError, match=name):
        http_layer.install(MlflowProxy())


def test_a_changed_attribute_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what is set in a constructor."""
    monkeypatch.delitem(layers.http.HttpLayer.__annotations__, "waiting_for_establishment")
    with pytest.raises(http_layer.UnsupportedError, match="waiting_for_establishment"):
        http_layer.install(MlflowProxy())
