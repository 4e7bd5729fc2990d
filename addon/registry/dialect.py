"""The dialect of an upstream: whether it serves /api/, /ajax-api/ or both, and below which path.

It is detected by the same small request under both prefixes. One answer alone says little: a
gateway may refuse everything in JSON, and a web application may answer any path with a page and
status 200. So the two answers are compared.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import urlsplit

from ..protocol import to_https
from .answers import (
    Answer,
    error_code,
    is_html,
    is_json_answer,
    switched_off,
)

Dialect = Literal["standard", "ajax"]

PREFIXES: dict[Dialect, str] = {"standard": "/api", "ajax": "/ajax-api"}
"""In order of preference: an upstream that serves both needs no rewriting."""

SMALL = "/2.0/mlflow/experiments/search?max_results=1"
"""The request under each prefix. All versions of MLflow have it."""

BASE_PATHS = ("/mlflow",)
"""Common places of MLflow, besides the root and the place that the root redirects to."""

GUARDED = "it asks for credentials"
PAGES = "it answers with web pages, perhaps to ask for a login"
ABSENT = "nothing is served there"
SILENT = "it does not answer"
HTTPS = "it redirects everything to https"
"""Why a dialect is not clear."""

_PLAIN = re.compile(r"(/[A-Za-z0-9._~-]+)+")

_Verdict = Literal["serves", "guarded", "page", "absent", "unknown"]

Ask = Callable[[str], Answer]
"""Sends a GET for a path with query."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a search for an upstream's dialect."""

    dialect: Dialect | None
    """None if it is not known."""
    base_path: str
    """The prefix of every path; no final slash."""
    reason: str
    """The meaning of the answers, for people."""
    answers: tuple[tuple[str, str], ...] = ()
    """The paths of the questions, without the common end, and the answers in short."""
    reachable: bool = True
    """Whether it answered at all."""
    prefixes: tuple[str, ...] = ()
    """The prefixes of clients below which the API is served, or may be."""

    @property
    def why(self) -> str:
        """The answers and the reason in a line."""
        return "; ".join([*(f"{place}: {said}" for place, said in self.answers), self.reason])


def find(
    ask: Ask, base_path: str = "", *, prefixes: Sequence[str] = (), thorough: bool = False
) -> Finding:
    """Ask an upstream until its dialect is clear.

    Args:
        ask: sends a request to the upstream, as it is.
        base_path: the base path of the rules; other places are tried only without one.
        prefixes: prefixes that clients use, tried last. If one of them serves the API, it is the
            base path; if several do, each client has to name its own.
        thorough: ask under all prefixes, even if the first answer is enough.
    """
    first = _at(ask, base_path, thorough)
    if first.dialect or base_path or not first.reachable:
        return first
    for place in _places(ask("/")):
        found = _at(ask, place, thorough)
        if found.dialect:
            return found
    there = [_at(ask, prefix, thorough) for prefix in prefixes]
    serving = [found for found in there if found.dialect]
    if not serving:
        maybe = tuple(found.base_path for found in there if found.reason in (GUARDED, PAGES))
        return replace(first, prefixes=maybe)
    names = tuple(found.base_path for found in serving)
    if len(serving) == 1:
        return replace(serving[0], prefixes=names)
    dialect: Dialect = "ajax" if any(f.dialect == "ajax" for f in serving) else "standard"
    reason = f"it is served below {' and '.join(names)}"
    answers = tuple(answer for found in serving for answer in found.answers)
    return Finding(dialect, "", reason, answers, prefixes=names)


def is_place(path: str) -> bool:
    """Return whether a path can be a base path: a few plain segments."""
    return len(path) <= 64 and path.count("/") <= 4 and _PLAIN.fullmatch(path) is not None


def _at(ask: Ask, base_path: str, thorough: bool) -> Finding:
    answers: dict[Dialect, Answer] = {}
    for asked, prefix in PREFIXES.items():
        answers[asked] = ask(base_path + prefix + SMALL)
        if not thorough and verdict_on(answers[asked]) in ("serves", "unknown"):
            break  # The other answer would change nothing.
    dialect, reason = judge(answers)
    said = tuple((base_path + PREFIXES[d], short(answer)) for d, answer in answers.items())
    reachable = "unknown" not in map(verdict_on, answers.values())
    return Finding(dialect, base_path, reason, said, reachable)


def judge(answers: dict[Dialect, Answer]) -> tuple[Dialect | None, str]:
    """Compare the answers under the prefixes.

    Args:
        answers: in the order of `PREFIXES`.

    Returns:
        The dialect, None if it is not clear; and the reason.
    """
    verdicts = {dialect: verdict_on(answer) for dialect, answer in answers.items()}
    for dialect, verdict in verdicts.items():
        if verdict == "serves":
            return dialect, f"{PREFIXES[dialect]} is served"
    if to_https.CODE in map(error_code, answers.values()):
        return None, HTTPS
    guarded = [dialect for dialect, verdict in verdicts.items() if verdict == "guarded"]
    if len(guarded) == 1 and set(verdicts.values()) <= {"guarded", "absent"}:
        return guarded[0], f"{PREFIXES[guarded[0]]} is served to those with credentials"
    if guarded:
        return None, GUARDED
    if "unknown" in verdicts.values():
        return None, SILENT
    return None, PAGES if "page" in verdicts.values() else ABSENT


def suggestion(found: Finding, host: str) -> str:
    """Return the lines of `rules.yaml` for a finding, "" if none are needed.

    Args:
        found: the finding.
        host: "host" or "host:port" of the upstream.
    """
    lines = []
    if found.dialect == "ajax":
        lines.append(f"  external_hosts: [{host}]")
    if found.dialect and found.base_path:
        lines.append(f"  base_path: {found.base_path}")
    return "\n".join(["upstream:", *lines]) if lines else ""


def verdict_on(answer: Answer) -> _Verdict:
    """Return what one answer says of the prefix below which it was asked."""
    status = answer.status
    if switched_off(answer):
        return "serves"  # An MLflow server with artifacts only.
    if status is None or status >= 500 or status == 429:
        return "unknown"
    if status in (401, 403, 407):
        return "guarded"
    if 200 <= status < 400:
        if status < 300 and is_json_answer(answer):
            return "serves"
        return "page"
    # An answer of the API itself, for example of a registry that needs more parameters.
    return "serves" if error_code(answer) else "absent"


def _places(root: Answer) -> Iterator[str]:
    """Yield base paths to try, given the answer of the root."""
    try:
        hint = urlsplit(root.location).path.rstrip("/")
    except ValueError:  # Not a URL.
        hint = ""
    for place in dict.fromkeys((hint, *BASE_PATHS)):
        if _PLAIN.fullmatch(place):
            yield place


def short(answer: Answer) -> str:
    """Return an answer in two or three words."""
    if answer.status is None:
        return answer.error
    kind = "JSON" if is_json_answer(answer) else "HTML" if is_html(answer) else ""
    return f"{answer.status} {kind}".strip()
