"""Body bytes that arrive while their request waits for a connection."""

from __future__ import annotations

import pytest
from support.endings import Scene

from addon.engine.backlog import MOST


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
