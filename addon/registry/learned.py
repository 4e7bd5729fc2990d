"""The dialect of an upstream, learned from a client's request that was sent under both prefixes."""

from __future__ import annotations

import re

from ..protocol.bodies import is_json
from .answers import Answer, error_code, is_html
from .dialect import PREFIXES, Dialect, Finding, short, verdict_on

_SEARCH = re.compile(r"/(?:ajax-)?api/\d+(?:\.\d+)*/(?:preview/)?mlflow/[a-z-]+/search(?:-[a-z]+)?")
"""MLflow's POST requests that change nothing."""


def may_ask_twice(method: str, path: str) -> bool:
    """Return whether a request may be sent twice, because it changes nothing.

    Args:
        method: its HTTP method.
        path: its path (decoded, from the API on).
    """
    if method == "POST":
        return _SEARCH.fullmatch(path) is not None
    return method in ("GET", "HEAD", "OPTIONS")


def is_missing(answer: Answer) -> bool:
    """Return whether an answer under one prefix means that the API may be under the other one.

    MLflow's own error does not: then an object is missing, not the API.
    """
    if answer.status in (404, 405):
        return not error_code(answer)
    return answer.status is not None and 200 <= answer.status < 300 and is_html(answer)


def is_no_better(answer: Answer) -> bool:
    """Return whether an answer under the other prefix says no more than the first one."""
    refused = answer.status is not None and 300 <= answer.status < 500
    return is_missing(answer) or (refused and not error_code(answer))


def finding(
    dialect: Dialect, base_path: str, first: Answer, second: Answer, *, streamed: bool = False
) -> Finding | None:
    """Return the finding from a client's request that was sent under both prefixes, if any.

    Only an answer of the API counts. A request without credentials gets none, so a client without
    access to the upstream cannot change how the proxy uses it.

    Args:
        dialect: the dialect of the second answer.
        base_path: the base path of both requests.
        first: the first answer, for which `is_missing` is true.
        second: the answer under the prefix of `dialect`.
        streamed: whether its body was streamed, so that only its Content-Type is known.
    """
    labelled = streamed and second.status == 200 and is_json(second.content_type)
    if not labelled and verdict_on(second) != "serves":
        return None
    other: Dialect = "standard" if dialect == "ajax" else "ajax"
    answers = {other: first, dialect: second}
    said = tuple((base_path + PREFIXES[each], short(answers[each])) for each in answers)
    return Finding(dialect, base_path, "a client's own request was answered there", said)
