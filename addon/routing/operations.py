"""Operations beyond artifacts that the rules refuse, such as the deletion of experiments.

In MLflow's API the method alone does not say what a request does: `POST .../runs/search` reads, and
`POST .../runs/delete` deletes. The last segment of the path says the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..protocol.target import last_root
from ..rules.model import Operation, RefusedOperation
from ..rules.patterns import found
from . import gate

_DELETES = re.compile(r".*/delete(-[^/]*)?/?", re.DOTALL | re.IGNORECASE)
# Only these: an unknown POST is a write.
_READS = re.compile(
    r".*/(search|search-datasets|get-latest-versions|batchGetInfos|traces/metrics"
    r"|calculate-filter-correlation|graphql)/?",
    re.DOTALL | re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Concerned:
    """An entry of the rules that concerns a path."""

    entry: RefusedOperation
    post: Operation
    """What a POST to the path does."""


def concerned(
    readings: Iterable[str], folded: Iterable[str], refused: Sequence[RefusedOperation]
) -> list[Concerned]:
    """Return the entries that concern a path, in their order.

    Args:
        readings: the paths (decoded) under which the request may arrive.
        folded: the same, read by `target.fold`: servers in between may read them so.
        refused: the section of the rules.
    """
    if not refused:
        return []  # The paths of artifacts are not kept, so this is on their way.
    forms = gate.strict_forms(readings) | gate.lenient_forms(folded)
    return [
        *dict.fromkeys(
            Concerned(entry, _of_post(form))
            for entry in refused
            for form in forms
            if found(entry.anywhere, form, last_root(form)) is not None
        )
    ]


def refusing(entries: Iterable[Concerned], methods: Iterable[str]) -> RefusedOperation | None:
    """Return the first entry that refuses a request.

    Args:
        entries: those that concern its path.
        methods: the methods that a server may use (see `gate.methods`).
    """
    upper = [method.upper() for method in methods]
    return next((c.entry for c in entries if any(_refuses(c, method) for method in upper)), None)


def _refuses(concerned: Concerned, method: str) -> bool:
    entry = concerned.entry
    if entry.methods and method not in entry.methods:
        return False
    operation = gate.by_method(method)
    if operation == "write" and (method == "POST" or concerned.post == "delete"):
        operation = concerned.post
    return not entry.operations or operation in entry.operations


def _of_post(path: str) -> Operation:
    if _DELETES.fullmatch(path):
        return "delete"
    return "read" if _READS.fullmatch(path) else "write"
