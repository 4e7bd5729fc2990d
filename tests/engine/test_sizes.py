"""mitmproxy's own limits for bodies."""

from __future__ import annotations

import pytest
from mitmproxy import http

from addon.engine.sizes import Sizes, Verdict


@pytest.mark.parametrize(
    ("most", "held", "size", "verdict"),
    [
        (None, None, 2**40, Verdict.HOLD),
        ("1k", None, 1024, Verdict.HOLD),
        ("1k", None, 1025, Verdict.REFUSE),
        (None, "1k", 1024, Verdict.HOLD),
        (None, "1k", 1025, Verdict.STREAM),
        ("2k", "1k", 1025, Verdict.STREAM),
        ("2k", "1k", 2049, Verdict.REFUSE),
        # The limit 0 is a limit.
        ("0", None, 1, Verdict.REFUSE),
        # An unknown size is judged again as the body arrives.
        ("1k", "1k", None, Verdict.HOLD),
    ],
)
def test_judge(most: str | None, held: str | None, size: int | None, verdict: Verdict) -> None:
    """A body beyond body_size_limit is refused, one beyond stream_large_bodies is streamed."""
    sizes = Sizes(most, held)
    assert sizes.judge(size) is verdict
    assert sizes.are_limited is not (most is held is None)


@pytest.mark.parametrize(
    ("headers", "verdict"),
    [
        ({"Content-Length": "1024"}, Verdict.HOLD),
        ({"Content-Length": "1025"}, Verdict.REFUSE),
        ({"Transfer-Encoding": "chunked"}, Verdict.HOLD),
    ],
)
def test_judge_head(headers: dict[str, str], verdict: Verdict) -> None:
    """A message is judged by the length that it announces."""
    message = http.Response.make(200, b"", headers)
    message.headers.fields = tuple((k.encode(), v.encode()) for k, v in headers.items())
    assert Sizes("1k", None).judge_head(message) is verdict
