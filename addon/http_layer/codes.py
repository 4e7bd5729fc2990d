"""Codes of protocol errors: mitmproxy 12 has an enumeration, mitmproxy 11 HTTP statuses."""

from __future__ import annotations

from typing import Any

from mitmproxy.proxy.layers.http import _events

_CODES: Any = getattr(_events, "ErrorCode", None)
# In mitmproxy 11 these two mean that nobody is listening.
_NO_ANSWER = (444, 499)

CANCEL: Any = _CODES.CANCEL if _CODES else 499
UPSTREAM_ERROR: Any = _CODES.GENERIC_SERVER_ERROR if _CODES else 502


def status_of(code: Any) -> int | None:
    """The HTTP status for the code of a protocol error; None where no answer is due."""
    if isinstance(code, int):
        return None if code in _NO_ANSWER else code
    status: int | None = code.http_status_code()
    return status
