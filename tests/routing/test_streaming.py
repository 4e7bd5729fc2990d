"""Which bodies are streamed."""

import pytest

from addon.routing import streaming

LIMIT = 1000


@pytest.mark.parametrize(
    ("length", "artifact", "streams"),
    [
        (0, False, False),
        (0, True, False),
        (LIMIT, False, False),
        (LIMIT + 1, False, True),
        (None, False, True),
        (1, True, True),
        (None, True, True),
    ],
)
def test_request(length: int | None, artifact: bool, streams: bool) -> None:
    """Artifacts, large bodies and those of unknown length are streamed, except empty ones."""
    assert streaming.stream_request(length=length, artifact=artifact, threshold=LIMIT) is streams


@pytest.mark.parametrize(
    ("length", "content_type", "artifact", "streams"),
    [
        (LIMIT, "application/json", False, False),
        (LIMIT, "text/html", False, False),
        (LIMIT + 1, "application/json", False, True),
        (None, "application/json", False, True),
        (None, "text/event-stream", False, True),
        (1, "application/octet-stream", True, True),
        (1, "text/html", True, True),
        # A list of artifacts is an answer of the API.
        (LIMIT, "application/json", True, False),
        (LIMIT + 1, "application/json", True, True),
    ],
)
def test_response(length: int | None, content_type: str, artifact: bool, streams: bool) -> None:
    """Small answers of the API are held and can be inspected; all others are streamed."""
    decided = streaming.stream_response(
        length=length, content_type=content_type, artifact=artifact, threshold=LIMIT
    )
    assert decided is streams
