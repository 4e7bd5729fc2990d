"""Differences between the engine and mitmproxy's own HTTP layer, and their reasons."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from hypothesis import event

from .plays import Said
from .sans_io import PLAIN_ANSWER
from .side_by_side import Case, Outcome, describe, is_same
from .wire import read_answers

ALL = ["requestheaders", "request", "responseheaders", "response"]
"""The hooks of a complete flow."""


@dataclass(frozen=True)
class Difference:
    """An intended difference."""

    why: str
    applies: Callable[[Case], Any]
    """Returns whether the difference can occur in the case."""
    as_said: Callable[[Case], Any]
    """Returns whether the engine did the right thing in the case."""
    always: bool = False
    """Whether `as_said` must hold even where mitmproxy does the same."""


def names(outcome: Outcome) -> list[str]:
    """Return the names of the hooks."""
    return [name for name, _ in outcome.hooks]


def last(outcome: Outcome) -> str:
    """Return the last hook; "" if there is none."""
    return names(outcome)[-1] if outcome.hooks else ""


def is_failed(case: Case) -> bool:
    """Return whether an upstream's failure is answered with 502, and the flow is complete."""
    return case.ours.status == 502 and last(case.ours) == "response"


def is_broken(case: Case) -> bool:
    """Return whether the flow ended with `error` and the client's answer is incomplete."""
    return last(case.ours) == "error" and not is_complete(case)


def said(case: Case) -> Said:
    """Return the upstream's answer."""
    return [*case.scene.play.said, Said(())][case.number]


def is_complete(case: Case) -> bool:
    """Return whether the client has a complete answer."""
    return case.ours.answer is not None and case.ours.answer.complete


def is_cut_off(case: Case) -> bool:
    """Return whether the client can tell, by a reset or a close, that its answer is incomplete."""
    was_reset = case.ours.answer is not None and case.ours.answer.values(b":reset")
    return not is_complete(case) and bool(was_reset or case.us.client_closed)


def acts(case: Case, hook: str, act: str) -> bool:
    """Return whether an addon does this act in this hook."""
    return case.scene.play.act == (hook, act)


def limit(case: Case) -> bool:
    """Return whether the size of bodies is limited."""
    return bool(dict(case.scene.play.options).get("body_size_limit"))


def is_streamed(case: Case) -> bool:
    """Return whether the request's body is streamed before `request` runs."""
    options = dict(case.scene.play.options)
    return bool(case.scene.play.stream[0] or options.get("stream_large_bodies"))


def is_tea(case: Case) -> bool:
    """Return whether the client got the addon's answer, or has reset its connection."""
    return case.ours.status == 418 or case.scene.play.client_end == "reset"


def is_sent_again(case: Case) -> bool:
    """Return whether the client has the answer to a request repeated on another connection."""
    again = read_answers(PLAIN_ANSWER, [], ended=False)[0]
    return (
        len(case.ours.asked) == 2
        and case.ours.asked[0] == case.ours.asked[1]
        and case.ours.answer is not None
        and set(again.fields) <= set(case.ours.answer.fields)
    )


COMMON = [
    Difference(
        "An answer set in `requestheaders` is sent at once; the rest of the body is dropped.",
        lambda case: acts(case, "requestheaders", "answer"),
        lambda case: names(case.ours) == ALL and not case.ours.asked and is_tea(case),
    ),
    Difference(
        "An answer set in `request` is sent, although the body was already streamed.",
        lambda case: acts(case, "request", "answer") and is_streamed(case),
        lambda case: names(case.ours) == ALL and is_tea(case),
    ),
    Difference(
        "A flow killed in `request` ends there, although the body was already streamed.",
        lambda case: acts(case, "request", "kill") and is_streamed(case),
        lambda case: names(case.ours) == ["requestheaders", "request", "error"],
    ),
    Difference(
        "After a kill in `response`, the client can tell that its answer is incomplete.",
        lambda case: acts(case, "response", "kill"),
        is_cut_off,
    ),
    Difference(
        "When `error` runs for a body that is too large, the flow has the answer.",
        # mitmproxy sends no answer after 100 Continue.
        lambda case: limit(case) and (case.theirs.interim or case.theirs.status in (413, 502)),
        lambda case: (
            case.ours.status in (case.theirs.status or 413, 413)
            and last(case.ours) == "error"
            and case.ours.hooks[-1][1][2][0] == case.ours.status
        ),
    ),
    Difference(
        "A flow ends once; mitmproxy may call `response` after `error`.",
        lambda case: names(case.theirs)[-2:] == ["error", "response"],
        lambda case: last(case.ours) == "error" and case.us.client_closed,
    ),
    Difference(
        "Upstream failures become answers that addons see in `response`.",
        lambda case: last(case.theirs) == "error",
        lambda case: case.theirs.status in (0, 502) and is_failed(case),
    ),
    Difference(
        "An answer that a client could misread becomes an error.",
        lambda case: case.answer.odd or case.answer.odd_body,
        lambda case: is_failed(case) or is_broken(case),
    ),
    Difference(
        "A reset is not the end of a body.",
        lambda case: case.answer.framing == "end" and said(case).end == "reset" and case.ours.asked,
        lambda case: (
            last(case.ours) == "error"
            or not is_complete(case)
            or is_failed(case)
            or case.ours.status == 418
            or is_sent_again(case)
        ),
        always=True,
    ),
]
"""Differences for clients of any HTTP version."""


def explain(cases: Iterable[Case], table: list[Difference]) -> None:
    """Find a reason for the first difference; later ones may follow from it."""
    for case in cases:
        rules = [each for each in table if each.always and each.applies(case)]
        assert all(each.as_said(case) for each in rules), describe(case)
        if is_same(case):
            continue
        reasons = [each for each in table if each.applies(case) and each.as_said(case)]
        assert reasons, describe(case)
        event(reasons[0].why)
        return
