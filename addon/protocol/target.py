"""The request target, parsed once.

A server decodes percent-encoding before it routes, and ignores repeated leading slashes (MLflow
under uvicorn and gunicorn does both), so the meaning of a request is not the text on the wire.
Every policy checks the decoded path; only the rewrite changes the raw one. `Target.raw_index`
connects the two: it returns where a character of the decoded path begins in the raw path.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

# One run of escapes is decoded as a whole: a character may take several bytes of UTF-8.
_TOKEN = re.compile(r"(?:%[0-9A-Fa-f]{2})+|[^%]+|%")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_FLAW = re.compile(r"[#\x00-\x1f\x7f]")
_NESTED = re.compile(r"%(?:25)+")
_QUERY = re.compile(r"(?:[?#\s\x00]|%(?:25)*(?:3[Ff]|23)).*", re.DOTALL)
_PARAMETERS = re.compile(r"(?:;|%(?:25)*3[Bb])[^/]*")
_SLASH = r"(?:[/\\]|%(?:25)*(?:2[Ff]|5[Cc]))"
_USER = re.compile(rf"(^|{_SLASH}{{2}})(?:(?!{_SLASH}).)*(?:@|%(?:25)*40)", re.DOTALL)
_NEEDS_FOLDING = re.compile(r"[%\\;]|//|/\.")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
# Where MLflow's REST API begins; a prefix may stand in front (`mlflow server --static-prefix`).
_API = re.compile(r"/(?:ajax-)?api/\d+(?:\.\d+)*/(?:preview/)?mlflow(?:-artifacts)?(?=/|\Z)")
# The same for the most suspicious reading, and the folder of the UI's files.
_ROOT = re.compile(
    r"/(?:(?:ajax-)?api/[^/]+/(?:preview/)?mlflow(?:-artifacts)?(?=/|\Z)|static-files/)"
)

ROUNDS = 8
"""Layers of percent-encoding that are decoded; a target with more is refused."""


@dataclass(frozen=True, slots=True)
class Target:
    """A request target below its mount. Made by `read`."""

    received: str
    """The path as the client sent it, without the query."""
    mount: str
    """The mount of the request; "" for the root."""
    raw: str
    """The path below the mount as the client sent it."""
    path: str
    """The same as a server routes it: decoded once, one leading slash."""
    offsets: tuple[int, ...] | None
    """The index in `raw` of each character of `path` and of its end; None if they are equal."""

    def raw_index(self, index: int) -> int:
        """Return the index in `raw` at which the character `path[index]` begins."""
        return index if self.offsets is None else self.offsets[index]

    @property
    def api(self) -> int:
        """The index in `path` at which MLflow's REST API begins: after a prefix, otherwise 0."""
        return api_index(self.path)


@dataclass(frozen=True, slots=True)
class Folded:
    """The most suspicious reading of a path. Made by `fold`."""

    path: str
    problem: str | None = None
    """Why the path is refused; None if it is fine."""


def read(received: str, mounts: Sequence[str]) -> Target | None:
    """Read the path of a request target in origin form (RFC 9112, section 3.2.1).

    Args:
        received: without the query; bytes that are not UTF-8 as surrogate escapes.
        mounts: path prefixes without a final slash, longest first; "" is the root.

    Returns:
        The target, or None if the path is under no mount.
    """
    path, offsets = _one_leading_slash(*_decode(received))
    for mount in mounts:
        if not mount:
            return Target(received, "", received or "/", path or "/", offsets)
        if not path.startswith(mount) or path[len(mount) : len(mount) + 1] not in ("", "/"):
            continue
        end = len(mount) if offsets is None else offsets[len(mount)]
        raw = received[end:]
        # An encoded slash may follow the mount; upstream a path begins with a plain one.
        raw = "/" + (raw[3:] if raw[:3].upper() == "%2F" else raw[1:])
        path, offsets = _one_leading_slash(*_decode(raw))
        return Target(received, mount, raw, path, offsets)
    return None


def ambiguity(target: Target) -> str | None:
    """Return which part of a path servers read differently; None if there is none (see `flaw`).

    A request target has no fragment (RFC 9112, section 3.2): gunicorn drops it, uvicorn reads it as
    part of the path. Control characters end a path for some matchers (the $ of a regular expression
    before a newline) and for C libraries.
    """
    if "#" in target.received:
        return "a fragment"
    return "control characters" if _CONTROL.search(target.path) else None


def flaw(query: str) -> str | None:
    """Return which part of a query is ambiguous (see `ambiguity`)."""
    if query.isprintable() and "#" not in query:
        return None  # Nearly all queries, in a tenth of the time.
    found = _FLAW.search(query)
    return found and ("a fragment" if found[0] == "#" else "control characters")


def api_index(path: str) -> int:
    """Return the index at which MLflow's REST API begins in a decoded path; 0 if it does not.

    The text before it is a prefix under which all of MLflow is served.
    """
    found = _API.search(path)
    return found.start() if found else 0


def last_root(path: str) -> int:
    """Return the last index in a decoded path at which a route of MLflow can begin.

    After the beginning of the REST API, or the folder of the UI's files, there are parameters: a
    tag or a file may have the name of a route.
    """
    return max((found.start() for found in _ROOT.finditer(path)), default=len(path))


def fold(path: str) -> Folded:
    """Return the most suspicious reading of a path, for decisions that must not be bypassed.

    Decoded until nothing changes, backslashes as slashes, matrix parameters dropped, slashes
    merged, dot segments resolved: as some server or middlebox upstream might read it.

    The work must stay linear, and one more layer of encoding may cost the sender only a byte. So a
    path that is still encoded after `ROUNDS` layers is refused, not decoded to its end.
    """
    if not _NEEDS_FOLDING.search(path):
        return Folded(path)
    problem = None
    for _ in range(ROUNDS):
        # Otherwise the rounds for "%252525..." would grow with its length.
        decoded = unquote(_NESTED.sub("%", path), errors="surrogateescape")
        if decoded == path:
            break
        path = decoded
    else:
        if _ESCAPE.search(path):
            problem = f"more than {ROUNDS} layers of percent-encoding"
    segments: list[str] = []
    for part in path.replace("\\", "/").split("/"):
        segment = part.partition(";")[0]
        if segment == "..":
            if not segments:
                problem = problem or "dot segments that lead above its root"
            del segments[-1:]
        elif segment not in ("", "."):
            segments.append(segment)
    return Folded("/" + "/".join(segments), problem)


def shown(path_and_query: str) -> str:
    """Return a target as logs and messages may show it: no query, fragment or path parameters.

    All three may hold a token, even if their marks were encoded by mistake; so may any text after
    white space, which HTTP/2 can carry although no target has it. User and password of a URL in a
    path, or in place of one, are left out as well.
    """
    path = path_and_query.partition("?")[0]
    return _kept_shown(path) if len(path) < 512 else _shown(path)


def _shown(path: str) -> str:
    path = _QUERY.sub("", path)
    if "@" in path or "40" in path:
        path = _USER.sub(r"\1", path)
    return _PARAMETERS.sub("", path)


_kept_shown = lru_cache(1024)(_shown)


def _decode(raw: str) -> tuple[str, tuple[int, ...] | None]:
    if "%" not in raw:
        return raw, None
    text: list[str] = []
    offsets: list[int] = []
    for token in _TOKEN.finditer(raw):
        at, chunk = token.start(), token[0]
        if len(chunk) < 3 or chunk[0] != "%":
            text.append(chunk)
            offsets.extend(range(at, at + len(chunk)))
            continue
        for char in bytes.fromhex(chunk.replace("%", "")).decode("utf-8", "surrogateescape"):
            text.append(char)
            offsets.append(at)
            at += 3 * len(char.encode("utf-8", "surrogateescape"))
    return "".join(text), (*offsets, len(raw))


def _one_leading_slash(
    path: str, offsets: tuple[int, ...] | None
) -> tuple[str, tuple[int, ...] | None]:
    extra = len(path) - len(path.lstrip("/")) - 1
    if extra <= 0:
        return path, offsets
    if offsets is None:
        offsets = tuple(range(len(path) + 1))
    return path[extra:], offsets[extra:]
