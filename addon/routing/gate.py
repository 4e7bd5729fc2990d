"""The artifact switch: which requests it covers, and what they get while it is off."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

from ..errors.replies import Reply, json_reply, own_headers
from ..protocol.target import last_root
from ..rules.model import Artifacts, Endpoint, Operation
from ..rules.rules_file import RulesError

ENVIRONMENT = "MLFLOW_SERVE_ARTIFACTS"
OPTION = "mlflow_serve_artifacts"
DISABLED = "ARTIFACTS_DISABLED"

METHOD_OVERRIDES = ("x-http-method-override", "x-http-method", "x-method-override")
"""Headers in which some frameworks look for another method than that of the request."""

_SLASHES = re.compile("//+")
_WORDS = dict.fromkeys(("true", "1", "yes", "on", "y", "t"), True) | dict.fromkeys(
    ("false", "0", "no", "off", "n", "f"), False
)


@dataclass(frozen=True, slots=True)
class Switch:
    """The position of the artifact switch."""

    on: bool
    source: str
    """What has put it there."""


def switch(from_rules: bool, environment: str | None, option: str) -> Switch:
    """Work out the position of the switch: the option over the environment over the rules.

    Args:
        from_rules: `artifacts.enabled`.
        environment: the value of MLFLOW_SERVE_ARTIFACTS, None if it is not set.
        option: the value of mlflow_serve_artifacts, "" if it is not set.

    Raises:
        RulesError: one of them is set to something that is neither yes nor no.
    """
    for source, value in ((OPTION, option or None), (ENVIRONMENT, environment)):
        if value is None:
            continue
        try:
            return Switch(_WORDS[value.strip().lower()], source)
        except KeyError:
            raise RulesError(
                f"{source}: {value!r}: expected true or false (or 1/0, yes/no, on/off)"
            ) from None
    return Switch(from_rules, "artifacts.enabled")


def allowed_operations(artifacts: Artifacts, enabled: bool) -> frozenset[Operation]:
    """What may be done to artifacts. A read-only registry is one from which nothing is deleted.

    Args:
        artifacts: the section of the rules.
        enabled: the position of the switch (see `switch`).
    """
    positions: dict[Operation, bool] = {
        "read": artifacts.read,
        "write": artifacts.write,
        "delete": artifacts.write and artifacts.delete,
    }
    return frozenset(operation for operation, on in positions.items() if on and enabled)


def artifact_endpoints(paths: Iterable[str], artifacts: Artifacts) -> list[Endpoint]:
    """Find what makes a request an artifact request; nothing for any other request.

    Each path is read as MLflow reads it, which takes repeated slashes for one (by a redirect) and
    some routes with a final slash, and serves all of them below a prefix if it is told to.

    Args:
        paths: the paths (decoded) under which the request may arrive.
        artifacts: the section of the rules.
    """
    return _matching(
        (form for path in paths for form in (path, path.rstrip("/"), _SLASHES.sub("/", path))),
        artifacts,
    )


def suspected_endpoints(folded: Iterable[str], artifacts: Artifacts) -> list[Endpoint]:
    """Find what a request might be for somebody who reads paths less strictly than MLflow.

    Some server or middlebox between may resolve what MLflow would not: dot segments, backslashes,
    several layers of encoding, matrix parameters, any case.

    Args:
        folded: the paths under which the request may arrive, read by `target.fold`.
        artifacts: the section of the rules.
    """
    return _matching((form for path in folded for form in (path, path.lower())), artifacts)


def _matching(forms: Iterable[str], artifacts: Artifacts) -> list[Endpoint]:
    found = (artifacts.matching(form, last_root(form)) for form in dict.fromkeys(forms))
    return [*dict.fromkeys(chain.from_iterable(found))]


def methods(method: str, overrides: Iterable[str | None]) -> list[str]:
    """The methods that a server may take a request for: its own, and those of override headers."""
    return [method, *(override.strip() for override in overrides if override)]


def counts(method: str, endpoint: Endpoint) -> bool:
    """Tell whether a method makes a request to an endpoint one for artifacts."""
    return not endpoint.methods or method.upper() in endpoint.methods


def operation(method: str, endpoint: Endpoint) -> Operation:
    """Tell what a request does. Servers read methods in any case, and we do not know them all."""
    if endpoint.operation is not None:
        return endpoint.operation
    match method.upper():
        case "GET" | "HEAD" | "OPTIONS":
            return "read"
        case "DELETE":
            return "delete"
        case _:
            return "write"


def names_field(body: bytes, field: str) -> bool:
    """Tell whether a GraphQL request (JSON with a `query`) may ask for a field.

    What cannot be read counts as asking: MLflow might read what we do not. A name in a GraphQL
    document cannot be escaped or split, so it stands in the decoded query if it is used at all
    (https://spec.graphql.org/October2021/#Name).
    """
    try:
        request = json.loads(body)
        query = request["query"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return True
    if not isinstance(query, str):
        return True
    return re.search(rf"\b{field}\b", query) is not None


_REFUSALS: dict[Operation, str] = {
    "read": "Downloading and listing artifacts is switched off here.",
    "write": "Uploading artifacts is switched off here: this registry is read-only.",
    "delete": "Deleting artifacts is switched off here.",
}


def refusal(
    status: int, operation: Operation, allowed: frozenset[Operation], request_id: str
) -> Reply:
    """The answer to an artifact request that the switch refuses.

    MLflow's client repeats a 503 seven times, with pauses that double up to minutes, unless the
    answer names a pause of its own (`Retry-After`, RFC 9110, section 10.2.3; 0 is ignored).

    Args:
        status: HTTP status, `artifacts.disabled_status`.
        operation: what was asked for.
        allowed: what would be served.
        request_id: stands in the log, too.
    """
    what = _REFUSALS[operation] if allowed else "Artifact storage is not configured."
    content = {
        "error_code": DISABLED,
        "error": DISABLED,
        "message": f"{what} Please contact your administrator.",
    }
    headers = own_headers("http_request_denied", request_id)
    if status == 503:
        headers["Retry-After"] = "1"
    return json_reply(status, content, headers, why="artifacts_disabled")
