"""The same as `test_differences`, with HTTP/2 clients."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from support.differences import COMMON, Difference, explain, is_complete, is_tea, last, names
from support.exchanges import Scene
from support.exchanges_http2 import Http2Run, scenes
from support.side_by_side import Case, Outcome, cases


def is_refused(case: Case) -> bool:
    """Return whether a request is answered with 400 or reset and nothing else happens."""
    is_seen = names(case.ours) == ["requestheaders", "error"]
    return case.ours.status in ((0, 400) if is_seen else (0,)) and not case.ours.asked


def progress(outcome: Outcome) -> tuple[int, int, int]:
    """Return how far a request has come."""
    asked = outcome.asked
    return len(outcome.hooks), len(asked), sum(len(each.body) for each in asked)


def is_given_up(case: Case) -> Any:
    """Return whether the client has reset the request or closed its connection."""
    return case.scene.play.client_end != "open" or getattr(case.request, "is_reset", False)


TABLE = [
    *COMMON,
    Difference(
        "A head that is malformed or ambiguous is refused, and no other.",
        lambda case: case.request.odd,
        is_refused,
    ),
    Difference(
        "The connection stays open after a malformed head.",
        lambda case: case.them.client_closed and any(each.odd for each in case.scene.requests),
        lambda case: not case.us.client_closed,
    ),
    Difference(
        "Frames received together with a malformed frame, but before it, are processed.",
        lambda case: case.them.client_closed,
        lambda case: progress(case.ours) > progress(case.theirs),
    ),
    Difference(
        "On a 101 answer mitmproxy's layer fails, with all requests of the connection.",
        lambda case: "informational" in case.them.crash,
        lambda case: progress(case.ours) >= progress(case.theirs),
    ),
    Difference(
        "An addon's answer to HEAD is sent without a body.",
        lambda case: case.request.method == b"HEAD" and case.scene.play.act,
        lambda case: is_tea(case) and case.ours.answer and not case.ours.answer.body,
    ),
    Difference(
        "A request that is cancelled in the same bytes that contain it is not forwarded.",
        is_given_up,
        lambda case: last(case.ours) == "error" and len(case.ours.asked) <= len(case.theirs.asked),
    ),
    Difference(
        "An answer ends after its request has ended, even if it has no body.",
        lambda case: case.scene.is_cut or not getattr(case.request, "is_ended", True),
        lambda case: last(case.ours) == "response" and not is_complete(case),
    ),
    Difference(
        "If an addon kills a request, its upstream connection is closed.",
        lambda case: case.at_end and case.us.client_closed == case.them.client_closed,
        lambda case: sum(case.us.connections) < sum(case.them.connections),
    ),
]


@given(scenes())
def test_differences_http2(scene: Scene) -> None:
    """Each difference from mitmproxy's layer is a known one with a reason."""
    explain(cases(scene, Http2Run), TABLE)
