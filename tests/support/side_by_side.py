"""Runs the engine and mitmproxy's own HTTP layer on the same play and compares the outcomes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import h2.exceptions
from mitmproxy.connection import ConnectionState
from mitmproxy.proxy.layers.http import HttpLayer, HTTPMode

from addon.engine.layer import Engine

from .exchanges import Answer, Request, Scene
from .plays import Play
from .sans_io import World
from .wire import Message

CRASHES = (
    *(AssertionError, NotImplementedError, ValueError, AttributeError),
    h2.exceptions.ProtocolError,
)
"""Exceptions that mitmproxy's layers raise for odd input."""


@dataclass
class Outcome:
    """The outcome of one request."""

    hooks: list[Any]
    asked: list[Any]
    """Requests sent to upstreams."""
    answer: Message | None
    """The final answer that the client got."""
    interim: tuple[bytes, ...] = ()
    """The interim answers before it."""

    @property
    def status(self) -> int:
        """The status of the answer; 0 if there is none."""
        return self.answer.status if self.answer is not None and self.answer.line else 0


Answers = list[tuple[Message, tuple[bytes, ...]]]
"""Final answers, each with the status lines of the interim answers before it."""


class Run:
    """One layer's run of a play."""

    def __init__(self, make: Any, play: Play) -> None:
        self.crash = ""
        self.world = world = World(make, play)
        try:
            world.run()
        except CRASHES as error:
            self.crash = repr(error)
        self.answers = self.read()
        self.client_closed = world.client.state is not ConnectionState.OPEN
        self.connections = [
            self.client_closed,
            *(conn.state is ConnectionState.OPEN for conn in world.upstreams),
        ]
        """Whether, at the end, the client's connection is closed and each upstream's is open."""

    def read(self) -> Answers:
        """Return the answers that the client got."""
        return final(self.world.answers())

    def outcome(self, number: int) -> Outcome:
        """Return the outcome of a request."""
        seen = next((seen for seen in self.world.seen if seen.number == number), None)
        answers = self.answers
        answer, interim = answers[number] if number < len(answers) else (None, ())
        if seen is None:
            return Outcome([], [], answer, interim)
        return Outcome(seen.hooks, seen.requests(), answer, interim)


def final(answers: list[Message]) -> Answers:
    """Group interim answers with the final answers that they precede."""
    result: Answers = []
    interim: tuple[bytes, ...] = ()
    for answer in answers:
        if 100 <= answer.status < 200 and answer.status != 101:
            interim = (*interim, answer.line)
        else:
            result.append((answer, interim))
            interim = ()
    return result


NO_REQUEST = Request(b"", b"", b"", (), False, False)
NO_ANSWER = Answer(b"", 0, (), "", False, False, False, False)


@dataclass
class Case:
    """One request of a scene, and the outcome with both layers."""

    scene: Scene
    number: int
    ours: Outcome
    theirs: Outcome
    us: Run
    them: Run
    at_end: bool = False
    """Whether the case is about the connection after the last request."""

    @property
    def request(self) -> Request:
        """The request, as the client sends it."""
        return [*self.scene.requests, NO_REQUEST][self.number]

    @property
    def answer(self) -> Answer:
        """The answer, as the upstream sends it."""
        return [*self.scene.answers, NO_ANSWER][self.number]


OWN_ERRORS = (400, 413, 502)
"""Each layer words these errors in its own way; upstreams here do not send them."""


def plain(outcome: Outcome) -> Any:
    """Return the parts of an outcome that are compared.

    Left out are the place and spelling of a Host field that a proxy sets, the words of errors, and
    an answer's fields for one connection: the engine announces that it closes a connection, and
    only clients that know chunks get them.
    """
    hooks = [
        (
            name,
            (*request[:3], _sorted(request[3])),
            content,
            response and (response[0], _sorted(response[1])),
            *rest,
        )
        for name, (request, content, response, *rest) in outcome.hooks
    ]
    asked = [(each.line, _sorted(each.fields), each.body, each.complete) for each in outcome.asked]
    return hooks, asked, outcome.answer and _plain_answer(outcome.answer), outcome.interim


def _plain_answer(answer: Message) -> Any:
    if answer.status in OWN_ERRORS:
        return answer.status, answer.complete
    hop = (b"connection", b"transfer-encoding")
    pairs = [pair for pair in answer.fields if pair[0].lower() not in hop]
    return answer.status, _sorted(pairs), answer.body, answer.complete


def _sorted(pairs: Any) -> Any:
    named = ((b"host" if name.lower() == b"host" else name, value) for name, value in pairs)
    return sorted(named, key=lambda pair: pair[0].lower())


def cases(scene: Scene, run: type[Run] = Run) -> Iterator[Case]:
    """Run a scene with both layers; yield a case for each request and for the connection's end."""
    us = run(Engine, scene.play)
    assert not us.crash
    assert not us.world.layer._failed
    them = run(lambda context, _: HttpLayer(context, HTTPMode.transparent), scene.spared)
    for number in range(len(scene.requests)):
        yield Case(scene, number, us.outcome(number), them.outcome(number), us, them)
    served = max(len(us.world.seen), len(them.world.seen))
    yield Case(scene, served, Outcome([], [], None), Outcome([], [], None), us, them, at_end=True)


def is_same(case: Case) -> bool:
    """Return whether both layers did the same."""
    if case.at_end:
        return case.us.connections == case.them.connections
    return bool(plain(case.ours) == plain(case.theirs))


def describe(case: Case) -> str:
    """Return a readable description of a difference."""
    lines = [
        f"request {case.number}: {case.scene.play.client}",
        f"answers: {case.answer}",
        f"play: {case.scene.play}",
    ]
    for name, outcome, run in (("ours", case.ours, case.us), ("theirs", case.theirs, case.them)):
        lines += [f"{name}: {run.crash}", f"  answer {outcome.answer}", f"  asked {outcome.asked}"]
        lines += [f"  hook {hook}" for hook in outcome.hooks]
        lines += [f"  closed {run.world.closed}, client {run.world.client.state}"]
    return "\n".join(lines)
