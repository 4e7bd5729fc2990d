"""Requests on one HTTP/2 connection with interleaved frames, and their HTTP/1 answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

from . import spellings
from .exchanges import Draw, Request, Scene, an_answer, plays, rarely
from .http2 import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    RESET,
    SETTINGS,
    WINDOW,
    Frame,
    block,
    read_streams,
)
from .sans_io import NUMBER
from .side_by_side import Answers, Outcome, Run, final
from .wire import Message, Pairs, cut

AUTHORITY, HOST = (b":authority", b"a.test"), (b"host", b"a.test")
HOSTS = [[AUTHORITY], [(b":authority", b"A.test:80")], [HOST], [AUTHORITY, HOST]]
ODD_HOSTS = [
    *([], [HOST, HOST], [AUTHORITY, (b"host", b"b.test")]),
    *([(b":authority", value)] for value in (b"", b"u@a.test", b"a b", b"a.test:x")),
]
FIELDS = [
    *((b"x", b"y"), (b"x", b""), (b"x", b"\xff"), (b"cookie", b"a=b"), (b"cookie", b"c=d")),
    *((b"te", b"trailers"), (b"expect", b"100-continue"), (b"accept-encoding", b"gzip")),
]
ODD_FIELDS = [
    *((b"connection", b"close"), (b"keep-alive", b"1"), (b"transfer-encoding", b"chunked")),
    *((b"upgrade", b"h2c"), (b"te", b"gzip"), (b"X", b"y"), (b"x y", b""), (b"", b"y")),
    *((b"x:", b"y"), (b"x", b"a\r\nb: c"), (b"x", b"a\0"), (b"x", b" y"), (b"\xe4", b"y")),
    *((b"content-length", b"x"), (b"content-length", b"+1"), (b"content-length", b"1")),
    *((b":path", b"/"), (b":status", b"200"), (b":protocol", b"websocket"), (b":x", b"y")),
]
LESS = [
    *(lambda pairs, at=at: pairs[:at] + pairs[at + 1 :] for at in range(3)),
    *(lambda pairs, at=at: [*pairs, pairs[at]] for at in range(3)),
    lambda pairs: [(b":x", b"y"), *pairs],
]
"""Functions that drop, repeat or add a pseudo-header."""
PARTS = [b"a", b"", b"bcd", b"e" * 20, b"0\r\n\r\n"]
TRAILERS = [((b"x-t", b"1"),)]
ODD_TRAILERS = [((b":path", b"/"),), ((b"X", b"y"),), ((b"content-length", b"1"),)]
BETWEEN = [Frame(PING, bytes(8)), Frame(0x42, b"?"), Frame(SETTINGS), Frame(SETTINGS, flags=1)]
ODD_BETWEEN = [
    *(Frame(GOAWAY, bytes(8)), Frame(PING), Frame(WINDOW, bytes(4)), Frame(CONTINUATION)),
    *(Frame(DATA, b"?"), Frame(SETTINGS, b"?")),
]
NARROW, WIDE = (Frame(SETTINGS, b"\0\4" + size.to_bytes(4)) for size in (3, 999))
"""Settings with initial windows of 3 and 999 bytes."""
FRAMING = (b"content-length", b"transfer-encoding")


@dataclass(frozen=True)
class Stream(Request):
    """An HTTP/2 request."""

    parts: tuple[bytes, ...]
    """Frames; those that must stay together are one part."""
    is_reset: bool
    """Whether the client resets it, or sends more after its end."""
    is_ended: bool
    """Whether the client ends it."""


def a_stream(draw: Draw, key: int, odd: bool) -> Stream:
    """Draw a request."""
    strange = False

    def pick(sane: Any, rest: Any) -> Any:
        nonlocal strange
        is_odd = rarely(draw, odd)
        strange = strange or is_odd
        return draw(st.sampled_from(rest if is_odd else sane))

    method = pick(spellings.METHODS, spellings.ODD_METHODS)
    target = pick(spellings.TARGETS[:4], [b"", *spellings.ODD_TARGETS])
    pairs = [
        (b":method", method),
        (b":scheme", pick([b"http", b"https"], [b"ftp", b"", b"HTTP"])),
        (b":path", target),
        *pick(HOSTS, ODD_HOSTS),
        *(pick(FIELDS, ODD_FIELDS) for _ in range(draw(st.integers(0, 3)))),
        (NUMBER.encode(), b"%d" % key),
    ]
    body = [Frame(DATA, part) for part in draw(st.lists(st.sampled_from(PARTS), max_size=3))]
    size = sum(len(frame.payload) for frame in body)
    if draw(st.booleans()):
        pairs.append((b"content-length", b"%d" % pick([size], [size + 1, size + 9])))
    pairs = pick([list], LESS)(pairs)
    end = draw(st.sampled_from(["last", "last", "empty", "trailers"]))
    if end == "empty":
        body.append(Frame(DATA))
    elif end == "trailers":
        body.append(Frame(HEADERS, block(pick(TRAILERS, ODD_TRAILERS)), END_HEADERS))
    head, *rest = cut(block(tuple(pairs)), draw(st.lists(st.integers(1, 99), max_size=1)))
    frames = [Frame(HEADERS, head), *(Frame(CONTINUATION, part) for part in rest)]
    frames[-1] = frames[-1].flagged(END_HEADERS)
    if is_ended := not rarely(draw, odd):
        ending = body if body else frames
        at = -1 if body else 0
        ending[at] = ending[at].flagged(END_STREAM)
    parts = [b"".join(frame.write(2 * key + 1) for frame in frames)]
    parts += [frame.write(2 * key + 1) for frame in body]
    if is_reset := odd and draw(st.integers(0, 9)) == 9:
        parts[draw(st.integers(1, len(parts))) :] = [Frame(RESET, b"\0\0\0\x08").write(2 * key + 1)]
    if rarely(draw, odd):
        is_reset = True
        parts.append(Frame(DATA, b"late").write(2 * key + 1))
    head_and_body = (method, target, b"HTTP/2.0", (), strange, False)
    return Stream(*head_and_body, tuple(parts), is_reset, is_ended)


def mixed(draw: Draw, streams: tuple[Stream, ...]) -> list[bytes]:
    """Interleave the frames of all streams; streams begin in order (RFC 9113, section 5.1.1)."""
    left = [[*stream.parts] for stream in streams]
    result, begun = [], 0
    while any(left):
        at = draw(st.sampled_from([at for at in range(min(begun + 1, len(left))) if left[at]]))
        result.append(left[at].pop(0))
        begun = max(begun, at + 1)
    return result


@st.composite
def scenes(draw: Draw, *, odd: bool = True) -> Scene:
    """See `exchanges.scenes`."""
    numbers = range(draw(st.integers(1, 3)))
    streams = tuple(a_stream(draw, number, odd) for number in numbers)
    answers = tuple(an_answer(draw, odd, stream.method) for stream in streams)
    between = ODD_BETWEEN if rarely(draw, odd) else BETWEEN
    frames = mixed(draw, streams)
    for frame in draw(st.lists(st.sampled_from(between), max_size=2)):
        frames.insert(draw(st.integers(0, len(frames))), frame.write())
    is_narrow = draw(st.booleans())
    data = PREFACE + (NARROW if is_narrow else Frame(SETTINGS)).write() + b"".join(frames)
    if is_cut := odd and draw(st.integers(0, 9)) == 9:
        data = data[: draw(st.integers(0, len(data)))]
    portions = tuple(cut(data, draw(st.lists(st.integers(0, len(data)), max_size=5))))
    if is_narrow and not is_cut:
        portions += (WIDE.write(),)
    play, spared = plays(draw, (portions, portions), answers, odd)
    # mitmproxy keeps a failed connection for all requests of a client.
    play, spared = (
        replace(
            each,
            alpn=b"h2",
            said=tuple(replace(said, refuses=False) for said in each.said),
            # Upstreams move before the client: its window must be full before it is widened.
            turns=(*each.turns, *is_narrow * 50 * (1,)),
        )
        for each in (play, spared)
    )
    stream = (filled if play.stream[0] is True else play.stream[0], play.stream[1])
    return Scene(streams, answers, is_cut, play, replace(spared, spares=True, stream=stream))


class Http2Run(Run):
    """A run with an HTTP/2 client."""

    def read(self) -> Answers:
        """Return the answers that the client got."""
        streams = read_streams(self.world.sent)
        answers = (final(streams.get(2 * number + 1, [])) for number in range(3))
        return [(answer or [(Message(b"", ()), ())])[-1] for answer in answers]

    def outcome(self, number: int) -> Outcome:
        """Return the outcome of a request, without its framing."""
        outcome = super().outcome(number)
        outcome.hooks = [
            (name, ((*request[:3], unframed(request[3])), *rest))
            for name, (request, *rest) in outcome.hooks
        ]
        outcome.asked = [replace(each, fields=unframed(each.fields)) for each in outcome.asked]
        return outcome


def unframed(pairs: Pairs) -> Pairs:
    """Return fields without those for framing, and with all cookies in one field."""
    named = tuple((name.lower(), value) for name, value in pairs if name.lower() not in FRAMING)
    cookies = b"; ".join(value for name, value in named if name == b"cookie")
    return (*(pair for pair in named if pair[0] != b"cookie"), (b"cookie", cookies))


def filled(data: bytes) -> list[bytes]:
    """A stream function that drops empty data: mitmproxy would take it for the last chunk."""
    return [data] if data else []
