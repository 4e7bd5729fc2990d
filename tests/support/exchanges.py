"""Requests and answers for a proxy: mostly valid, with the oddities that servers meet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from hypothesis import strategies as st

from . import spellings
from .plays import End, Play, Said
from .wire import cut

T = TypeVar("T")
Draw = Callable[[Any], Any]

INTERIM = "Interim answers are dropped; mitmproxy treats them as final ones."
TRAILERS = "Trailers are dropped; mitmproxy does not support them."
BLANK = "White space before a chunk extension is allowed; mitmproxy treats it as malformed."
EMPTY = "Empty lines before a request are skipped; mitmproxy waits for more data."
AUTHORITY = "An absolute-form target is forwarded without its host; mitmproxy leaves it unchanged."
Marked = tuple[tuple[bytes, str], ...]
"""Bytes in parts, each with the reason why mitmproxy's own layer does not get it, or ""."""


@dataclass(frozen=True)
class Request:
    """A request, as a client sends it."""

    method: bytes
    target: bytes
    version: bytes
    data: Marked
    odd: bool
    """Whether its head is malformed or ambiguous."""
    odd_body: bool


@dataclass(frozen=True)
class Answer:
    """An answer, as an upstream sends it."""

    version: bytes
    status: int
    data: Marked
    """The part of it that is sent."""
    framing: str
    odd: bool
    odd_body: bool
    extra: bool
    """Whether bytes follow that are not part of it."""
    is_cut: bool


@dataclass(frozen=True)
class Scene:
    """Some requests on one connection, with their answers."""

    requests: tuple[Request, ...]
    answers: tuple[Answer, ...]
    is_cut: bool
    """Whether the client sends only a part of the requests."""
    play: Play
    spared: Play
    """The same play without the parts that mitmproxy's own layer does not get."""


def rarely(draw: Draw, odd: bool = True) -> bool:
    """Return True about once in 40 draws, if odd input is allowed."""
    return odd and draw(st.integers(0, 39)) == 39


def chunked(draw: Draw, odd: bool) -> tuple[Marked, bool]:
    """Draw a body in chunks; return it and whether it is malformed."""
    coded: list[tuple[bytes, str]] = []
    for part in draw(st.lists(st.binary(min_size=1, max_size=20), max_size=3)):
        size = draw(st.sampled_from([b"%x", b"%X", b"0%x"])) % len(part)
        blank, extension = draw(st.sampled_from(spellings.EXTENSIONS))
        coded += [(size, ""), (blank, BLANK), (b"%s\r\n%s\r\n" % (extension, part), "")]
    if rarely(draw, odd):
        return (*coded, (draw(st.sampled_from(spellings.ODD_CHUNKS)) + b"0\r\n\r\n", "")), True
    trailers = draw(st.sampled_from(spellings.TRAILER_LINES))
    return (*coded, (b"0\r\n", ""), (trailers, TRAILERS), (b"\r\n", "")), False


def a_request(draw: Draw, odd: bool) -> Request:
    """Draw a request."""
    strange = False

    def pick(sane: list[bytes], rest: list[bytes]) -> bytes:
        nonlocal strange
        is_odd = rarely(draw, odd)
        strange = strange or is_odd
        picked: bytes = draw(st.sampled_from(rest if is_odd else sane))
        return picked

    method, target = (
        pick(spellings.METHODS, spellings.ODD_METHODS),
        pick(spellings.TARGETS, spellings.ODD_TARGETS),
    )
    version = pick([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0"], spellings.ODD_VERSIONS)
    lines = [
        pick(spellings.HOSTS, [b"X: no host", b"Host: a.test, b", b"Host: a b", b"Host: u@a.test"])
    ]
    lines += [pick(spellings.LINES, spellings.ODD_LINES) for _ in range(draw(st.integers(0, 3)))]
    framing = draw(st.sampled_from(["none", "none", "length", "chunks"]))
    body: Marked = ()
    odd_body = False
    if framing == "length":
        content = draw(st.binary(max_size=30))
        body = ((content, ""),)
        name = draw(st.sampled_from([b"Content-Length: %d", b"content-length:%d"]))
        lines.append(name % len(content))
    elif framing == "chunks" and version != b"HTTP/1.0":
        body, odd_body = chunked(draw, odd)
        names = [b"Transfer-Encoding: chunked", b"transfer-encoding:Chunked"]
        lines.append(draw(st.sampled_from(names)))
    else:
        framing = "none"
    if framing != "none" and rarely(draw, odd):
        strange = True
        lines.append(draw(st.sampled_from([b"Content-Length: 7", b"Transfer-Encoding: chunked"])))
    end = pick([b"\r\n"], [b"\n"])
    empty = draw(st.sampled_from([b"", b"", b"\r\n"]))
    rest = end.join([b" " + version, *draw(st.permutations(lines)), b"", b""])
    authority = target[: target.rindex(b"/")] if target in spellings.ABSOLUTE else b""
    path = target[len(authority) :]
    data = ((empty, EMPTY), (method + b" ", ""), (authority, AUTHORITY), (path + rest, ""), *body)
    return Request(method, target, version, data, strange, odd_body)


def an_answer(draw: Draw, odd: bool, method: bytes) -> Answer:
    """Draw an answer to a method."""
    interim = (
        b"".join(draw(st.lists(st.sampled_from(spellings.INTERIMS), max_size=2))) if odd else b""
    )
    strange, status = False, draw(st.sampled_from(spellings.STATUSES))
    version = draw(st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0"]))
    line = b"%s %d%s" % (version, status, draw(st.sampled_from(spellings.REASONS)))
    if rarely(draw, odd):
        strange, status, line = True, 0, draw(st.sampled_from(spellings.ODD_STATUS_LINES))
    lines = draw(st.lists(st.sampled_from(spellings.ANSWER_LINES), max_size=3))
    if rarely(draw, odd):
        strange = True
        lines.append(draw(st.sampled_from(spellings.ODD_ANSWER_LINES)))
    framing = draw(st.sampled_from(["length", "length", "chunks", "end"]))
    content, odd_body = draw(st.binary(max_size=30)), False
    body: Marked = ((content, ""),)
    if framing == "chunks" and version == b"HTTP/1.1":
        body, odd_body = chunked(draw, odd)
        lines.append(b"Transfer-Encoding: chunked")
    elif framing == "length":
        lines.append(b"Content-Length: %d" % len(content))
    else:
        framing = "end"
    if status in (204, 304) or method == b"HEAD":
        body, odd_body, framing = (), False, "none"
    newline = draw(st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n"]))
    head = newline.join([line, *lines, b"", b""])
    extra = draw(st.binary(min_size=1, max_size=3)) if rarely(draw, odd) else b""
    data = ((interim, INTERIM), (head, ""), *body, (extra, ""))
    is_cut = rarely(draw, odd)
    if is_cut:
        data = kept(data, draw(st.integers(0, 199)))
    return Answer(version, status, data, framing, strange, odd_body, bool(extra), is_cut)


def kept(data: Marked, size: int) -> Marked:
    """Return the first `size` bytes."""
    result = []
    for part, spared in data:
        result.append((part[:size], spared))
        size -= len(result[-1][0])
    return tuple(result)


def in_portions(draw: Draw, data: Marked) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """Return data in portions: all of it, and only the parts for mitmproxy's own layer.

    Both have equally many portions, some perhaps empty, so that both layers take the same turns.
    """
    spared = b"".join(bytes([bool(mark)]) * len(part) for part, mark in data)
    places = draw(st.lists(st.integers(0, max(0, len(spared) - 1)), max_size=5))
    portions = cut(b"".join(part for part, _ in data), places)
    marks = cut(spared, places)
    rest = (
        bytes(byte for byte, mark in zip(*pair, strict=True) if not mark)
        for pair in zip(portions, marks, strict=True)
    )
    return tuple(portions), tuple(rest)


def swapped(data: bytes) -> list[bytes]:
    """A stream function that swaps the case of the data and splits it in two."""
    data = data.swapcase()
    return [part for part in (data[:1], data[1:]) if part]


ACTS = (
    [None] * 8
    + [(hook, act) for hook in ("requestheaders", "request") for act in ("kill", "answer")]
    + [("responseheaders", "kill"), ("response", "kill")]
)
LIMIT = "15"
"""A size limit for bodies, in bytes."""
STREAMS = [False, False, True, swapped]


@st.composite
def scenes(draw: Draw, *, odd: bool = True) -> Scene:
    """Some requests on one connection, with their answers.

    Args:
        draw: from hypothesis.
        odd: whether some input is malformed, cut or out of turn.
    """
    number = draw(st.integers(1, 3))
    requests = tuple(a_request(draw, odd) for _ in range(number))
    answers = tuple(an_answer(draw, odd, request.method) for request in requests)
    data = tuple(part for request in requests for part in request.data)
    is_cut = odd and draw(st.integers(0, 9)) == 9
    if is_cut:
        data = kept(data, draw(st.integers(0, 399)))
    return Scene(requests, answers, is_cut, *plays(draw, in_portions(draw, data), answers, odd))


def plays(
    draw: Draw,
    client: tuple[tuple[bytes, ...], tuple[bytes, ...]],
    answers: tuple[Answer, ...],
    odd: bool,
) -> tuple[Play, Play]:
    """Draw a play with these portions and answers, for the engine and for mitmproxy's layer."""
    said = [said_to(draw, answer, odd) for answer in answers]
    play = Play(
        client=client[0],
        said=tuple(each[0] for each in said),
        client_end=draw(st.sampled_from(["open"] * 6 + ["close", "reset"])) if odd else "open",
        turns=tuple(draw(st.lists(st.integers(0, 2), max_size=20))) if odd else (),
        stream=(draw(st.sampled_from(STREAMS)), draw(st.sampled_from(STREAMS))),
        act=draw(st.sampled_from(ACTS)) if odd else None,
        options=(
            ("keep_host_header", draw(st.booleans())),
            ("store_streamed_bodies", draw(st.booleans())),
            (
                draw(st.sampled_from(["body_size_limit", "stream_large_bodies"])),
                LIMIT if rarely(draw, odd) else None,
            ),
        ),
    )
    return play, replace(play, client=client[1], said=tuple(each[1] for each in said))


def said_to(draw: Draw, answer: Answer, odd: bool) -> tuple[Said, Said]:
    """Draw how an answer is sent, for the engine and for mitmproxy's layer."""
    ends = answer.framing == "end" or answer.is_cut
    end: End = "open"
    if ends or rarely(draw, odd):
        end = draw(st.sampled_from(["close", "close", "reset"])) if odd else "close"
    early, refuses = rarely(draw, odd), rarely(draw, odd)
    ours, theirs = in_portions(draw, answer.data)
    return Said(ours, end, early, refuses), Said(theirs, end, early, refuses)
