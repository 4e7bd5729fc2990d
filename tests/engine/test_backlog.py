"""Bytes that arrive while a request waits for its connection, or for its answer."""

from __future__ import annotations

import pytest
from mitmproxy.proxy.events import DataReceived
from support.endings import Scene
from support.websocket import ASKING, SWITCH

from addon.engine.backlog import MOST
from addon.engine.http1_requests import BACKLOG


@pytest.mark.parametrize("refused", [False, True])
def test_the_client_is_stopped(refused: bool) -> None:
    """Reading from the client pauses until its request goes on or is answered."""
    scene = Scene(http2=False, limit=0, stream=(True, False))
    scene.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (3 * MOST))
    scene.step("go on", 0)
    if refused:
        scene.waiting[0].reply = "refused"  # type: ignore[attr-defined]
    scene.send(bytes(MOST))
    assert scene.addon.paused[scene.client] == 0
    scene.send(b"x")
    assert scene.addon.paused[scene.client] == 1
    scene.send(b"x")
    assert scene.addon.paused[scene.client] == 1
    attempt = scene.waiting.pop(0)
    scene.step("go on", 0)
    assert scene.addon.paused[scene.client] == 1
    scene.waiting.insert(0, attempt)
    scene.go_on()
    assert scene.addon.paused[scene.client] == 0
    scene.send(bytes(MOST + 1))
    assert scene.addon.paused[scene.client] == 0


def test_a_websocket_whose_client_begins_early() -> None:
    """Reading is resumed after the handshake, however much the client has sent before it."""
    scene = Scene(http2=False, limit=0, stream=(False, False))
    scene.send(b"GET / HTTP/1.1\r\nHost: a\r\n%s\r\n" % ASKING.encode())
    scene.go_on()
    scene.send(b"\x89\x80\0\0\0\0" * BACKLOG)
    assert scene.addon.paused[scene.client] == 1
    scene._give(DataReceived(scene.servers[0], SWITCH))
    scene.go_on()
    assert scene.engine.websocket is not None
    assert scene.addon.paused[scene.client] == 0
