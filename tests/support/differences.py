"""Differences between the engine and mitmproxy's own HTTP layer, and what explains them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from hypothesis import event

from .plays import Said
from .side_by_side import Case, Outcome, describe, is_same

ALL = ["requestheaders", "request", "responseheaders", "response"]
"""The hooks of a flow that is complete."""


@dataclass(frozen=True)
class Difference:
    """One that is meant."""

    why: str
    applies: Callable[[Case], Any]
    """Whether the scene is one of that kind."""
    as_said: Callable[[Case], Any]
    """Whether the engine did what it should in that case."""
    always: bool = False
    """Whether it has to, also where mitmproxy does the same."""


def names(outcome: Outcome) -> list[str]:
    """Of its hooks."""
    return [name for name, _ in outcome.hooks]


def last(outcome: Outcome) -> str:
    """The last hook; "" if there is none."""
    return names(outcome)[-1] if outcome.hooks else ""


def is_failed(case: Case) -> bool:
    """Whether an upstream's failure is answered with 502, and the flow is complete."""
    return case.ours.status == 502 and last(case.ours) == "response"


def is_broken(case: Case) -> bool:
    """Whether an answer ends so that a client sees that this is not the end."""
    return last(case.ours) == "error" and not is_complete(case)


def said(case: Case) -> Said:
    """What the upstream says."""
    return [*case.scene.play.said, Said(())][case.number]


def is_complete(case: Case) -> bool:
    """Whether the client has a whole answer."""
    return case.ours.answer is not None and case.ours.answer.complete


def acts(case: Case, hook: str, act: str) -> bool:
    """Whether an addon does that."""
    return case.scene.play.act == (hook, act)


def limit(case: Case) -> bool:
    """Whether bodies are limited."""
    return bool(dict(case.scene.play.options).get("body_size_limit"))


def is_streamed(case: Case) -> bool:
    """Whether the body of the request passes before `request` runs."""
    options = dict(case.scene.play.options)
    return bool(case.scene.play.stream[0] or options.get("stream_large_bodies"))


def is_tea(case: Case) -> bool:
    """Whether the client has the answer of an addon, if it is there to read it."""
    return case.ours.status == 418 or case.scene.play.client_end == "reset"


def explain(cases: Iterable[Case], table: list[Difference]) -> None:
    """Find a reason for the first difference, as what comes behind it may have its reason in it."""
    for case in cases:
        rules = [each for each in table if each.always and each.applies(case)]
        assert all(each.as_said(case) for each in rules), describe(case)
        if is_same(case):
            continue
        reasons = [each for each in table if each.applies(case) and each.as_said(case)]
        assert reasons, describe(case)
        event(reasons[0].why)
        return
