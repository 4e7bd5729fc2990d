"""The ids of a request: X-Request-Id, and traceparent of W3C Trace Context.

A client's ids are kept, and missing ones are made. The upstream gets them with the request, the
client with the answer. An id that is not safe to repeat counts as missing.
See https://www.w3.org/TR/trace-context/#traceparent-header.
"""

from __future__ import annotations

import re
import secrets

from .headers import Fields, Pairs, without

Names = tuple[tuple[bytes, bytes], tuple[bytes, bytes]]

REQUEST_ID = "X-Request-Id"

_SANE_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_ID = REQUEST_ID.lower().encode()
_NAME = REQUEST_ID.encode()
_TRACE = b"traceparent"
_TRACE_STATE = b"tracestate"
UPSTREAM_ID = b"X-Upstream-Request-Id"
"""The header in which the client gets the upstream's own id."""

# Later versions may have more after the flags. All zeros are not valid.
_TRACEPARENT = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.{0,64})?"
)


def request_id(received: str | None, ours: str | None = None) -> str:
    """Return the id of a request: the client's if it is safe to repeat, otherwise ours.

    Args:
        received: the X-Request-Id header, None if there is none.
        ours: our id for the request; None makes a new one.
    """
    if received and _SANE_ID.fullmatch(received):
        return received
    return ours or secrets.token_hex(16)


def of(fields: Fields, ours: str) -> Names:
    """Return the request id and the traceparent of a request, as headers.

    Args:
        fields: its headers, by lower-case names.
        ours: a random UUID for this request; missing ids are made from it.
    """
    shown = ours
    if _ID in fields:
        shown = request_id(fields[_ID].decode("latin-1"), ours)
    if _TRACE in fields and _TRACEPARENT.fullmatch(fields[_TRACE]):
        trace = fields[_TRACE]
    else:
        digits = ours.replace("-", "")
        # Not sampled: this proxy records no traces.
        trace = f"00-{digits}-{digits[16:]}-00".encode()
    return (_NAME, shown.encode()), (_TRACE, trace)


def for_upstream(headers: Pairs, fields: Fields, names: Names) -> Pairs:
    """Return the headers of a request with its ids.

    Args:
        headers: of the request.
        fields: the same by lower-case names.
        names: from `of`.
    """
    if _ID not in fields and _TRACE not in fields:
        return headers + names
    before, after = (fields.get(_ID), fields.get(_TRACE)), (names[0][1], names[1][1])
    if before == after:
        return headers
    drop = {_ID, _TRACE}
    if before[1] != after[1]:
        drop.add(_TRACE_STATE)  # It belongs to the old trace, which ends here.
    return without(headers, drop) + names


def for_client(headers: Pairs, fields: Fields, names: Names) -> Pairs:
    """Return the headers of an answer with the ids of its request; see `for_upstream`."""
    if _ID not in fields and _TRACE not in fields:
        return headers + names
    theirs = fields.get(_ID)
    headers = without(headers, {_ID, _TRACE}) + names
    return headers if theirs in (None, names[0][1]) else (*headers, (UPSTREAM_ID, theirs))
