"""Which bodies stream through, and which are held until they are whole.

A held body is visible in mitmweb and costs memory. A streamed body costs none, and its first byte
passes at once. So small API bodies are held, and all others stream.
"""

from __future__ import annotations

from ..protocol.bodies import is_json


def stream_request(*, length: int | None, artifact: bool, threshold: int) -> bool:
    """Return whether to stream a request body.

    Args:
        length: bytes by Content-Length; None for a body of unknown length.
        artifact: whether the request moves artifacts.
        threshold: bytes up to which other bodies are held.
    """
    if length == 0:
        return False
    return artifact or length is None or length > threshold


def stream_response(
    *, length: int | None, content_type: str, artifact: bool, threshold: int
) -> bool:
    """Return whether to stream a response body that will not be changed.

    The JSON answers of artifact endpoints (listings) are held like those of the API.
    """
    if length is None or length > threshold:
        return True
    return artifact and not is_json(content_type)
