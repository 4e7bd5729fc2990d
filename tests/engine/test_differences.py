"""Compares the engine with mitmproxy's own HTTP layer: each difference has a reason.

Other differences are removed before the comparison: input that mitmproxy's layer does not get
(`support.exchanges`), and parts that are not compared (`support.side_by_side.plain`).
"""

from __future__ import annotations

from hypothesis import given, settings
from support.differences import (
    COMMON,
    Difference,
    explain,
    is_complete,
    is_sent_again,
    is_tea,
    last,
    names,
)
from support.exchanges import Scene, scenes
from support.side_by_side import Case, Outcome, cases


def is_refused(case: Case) -> bool:
    """Return whether a request is answered with 400 and nothing else happens."""
    return (
        names(case.ours) in ([], ["requestheaders", "error"])
        and not case.ours.asked
        and (case.ours.status == 400 or case.scene.play.client_end == "reset")
        and case.us.client_closed
    )


def is_last_chunk(outcome: Outcome) -> bool:
    """Return whether the answer that a client reads is the end of the body before it."""
    return outcome.answer is not None and outcome.answer.line == b"0"


def is_kept(case: Case) -> bool:
    """Return whether the engine goes on where mitmproxy has closed the client's connection."""
    return not case.us.client_closed or bool(case.ours.hooks or case.ours.answer)


def is_closed(case: Case) -> bool:
    """Return whether the engine has closed the client's connection where mitmproxy goes on."""
    return case.us.client_closed and not case.ours.hooks and not case.ours.answer


def before(case: Case) -> tuple[bytes, bytes]:
    """Return the previous request and its answer, as they were sent."""
    number = case.number - 1
    if number < 0:
        return b"", b""
    request, answer = case.scene.requests[number], case.scene.answers[number]
    return b"".join(p for p, _ in request.data), b"".join(p for p, _ in answer.data)


TABLE = [
    *COMMON,
    Difference(
        "An HTTP/1.0 connection serves only one request.",
        lambda case: case.number and case.scene.requests[case.number - 1].version == b"HTTP/1.0",
        is_closed,
    ),
    Difference(
        "Connection options are case-insensitive: Close means close.",
        lambda case: any(b": Close" in message for message in before(case)),
        is_closed,
    ),
    Difference(
        "An answer without a length is sent in chunks to HTTP/1.1 clients.",
        lambda case: case.number and case.scene.answers[case.number - 1].framing == "end",
        is_kept,
    ),
    Difference(
        "A head that is malformed or ambiguous is refused.",
        lambda case: case.request.odd,
        is_refused,
    ),
    Difference(
        "A client that has shut down its side still gets its answer.",
        lambda case: case.scene.play.client_end == "close",
        lambda case: (
            "error" in names(case.theirs)
            and (len(case.ours.hooks) > len(case.theirs.hooks) or is_complete(case))
            and case.us.client_closed
        ),
    ),
    Difference(
        "An addon's answer to HEAD is sent without a body, which would belong to the next one.",
        lambda case: (
            case.number
            and case.scene.requests[case.number - 1].method == b"HEAD"
            and case.scene.play.act in (("requestheaders", "answer"), ("request", "answer"))
        ),
        lambda case: is_tea(case) or is_closed(case),
    ),
    Difference(
        "A 304 that names a transfer coding is not followed by a last chunk.",
        lambda case: b" 304" in before(case)[1] and b"chunked" in before(case)[1],
        lambda case: is_last_chunk(case.theirs) and not is_last_chunk(case.ours),
    ),
    Difference(
        "A request sent on a connection that was just closing is sent again.",
        lambda case: case.number and (last(case.theirs) == "error" or case.answer.odd),
        is_sent_again,
    ),
    Difference(
        "A malformed body is answered with 400, unless the answer has begun.",
        lambda case: case.request.odd_body,
        lambda case: (
            case.us.client_closed and case.ours.status == 400 and last(case.ours) == "error"
        ),
    ),
]


@settings(max_examples=2 * settings().max_examples)
@given(scenes())
def test_differences(scene: Scene) -> None:
    """Each difference from mitmproxy's layer is a known one with a reason."""
    explain(cases(scene), TABLE)
