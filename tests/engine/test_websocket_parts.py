"""The bytes of a WebSocket message that has not ended."""

from __future__ import annotations

import wsproto
from mitmproxy.proxy.layers.websocket import WebsocketConnection
from mitmproxy.test import tflow

from addon.engine.websocket_parts import LARGE, PART, Parts


def side() -> WebsocketConnection:
    return WebsocketConnection(wsproto.ConnectionType.SERVER, [], conn=tflow.tclient_conn())


def test_a_side_without_a_message() -> None:
    """A side that has sent nothing holds nothing."""
    assert Parts(side()).size() == 0


def test_a_part_that_grows() -> None:
    """The last part counts with all of its bytes so far."""
    sender = side()
    parts = Parts(sender)
    for expected in (3, 6, 9):
        sender.frame_buf[-1] += b"abc"
        assert parts.size() == expected


def test_a_large_part() -> None:
    """What comes in many small pieces is not copied for each of them."""
    sender = side()
    parts = Parts(sender)
    sender.frame_buf[-1] += bytes(LARGE + 1)
    parts.size()
    before: object = sender.frame_buf[-1]
    sender.frame_buf[-1] += b"x"
    assert sender.frame_buf[-1] is before
    assert parts.size() == LARGE + 2
    assert b"".join(sender.frame_buf) == bytes(LARGE + 1) + b"x"


def test_many_parts() -> None:
    """Each complete part also counts for the object that holds it, whenever it was completed."""
    sender = side()
    parts = Parts(sender)
    for complete in range(1, 6):
        sender.frame_buf[-1] += b"abcde"
        if complete % 2:
            assert parts.size() == 5 * complete + PART * (complete - 1)
        sender.frame_buf.append(b"")
        assert parts.size() == (5 + PART) * complete


def test_the_next_message() -> None:
    """A message that has ended counts no more, also if the next one has as many parts."""
    sender = side()
    sender.frame_buf[:] = [b"abc", b"de", b""]
    parts = Parts(sender)
    assert parts.size() == 5 + 2 * PART
    sender.frame_buf = [b"", b"", b"x"]
    assert parts.size() == 1 + 2 * PART
    sender.frame_buf = [b""]
    assert parts.size() == 0
