"""The artifact switch: the requests that it covers, and the answer to them while it is off."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

from ..errors.replies import Reply, json_reply, own_headers
from ..protocol.target import last_root
from ..rules.model import OPERATIONS, Artifacts, ArtifactSwitch, Endpoint, Operation
from ..rules.rules_file import RulesError

ENVIRONMENT = "MLFLOW_SERVE_ARTIFACTS"
OPTION = "mlflow_serve_artifacts"
DISABLED = "ARTIFACTS_DISABLED"

METHOD_OVERRIDES = (b"x-http-method-override", b"x-http-method", b"x-method-override")
"""Headers from which some frameworks take a method in place of the request's."""

_SLASHES = re.compile("//+")
_WORDS = dict.fromkeys(("true", "1", "yes", "on", "y", "t"), True) | dict.fromkeys(
    ("false", "0", "no", "off", "n", "f"), False
)


@dataclass(frozen=True, slots=True)
class Switch:
    """The position of the artifact switch."""

    on: bool
    source: str
    """The setting that decided it."""


def switch(from_rules: bool, environment: str | None, option: str) -> Switch:
    """Return the position of the switch: the option overrides the environment, that the rules.

    Args:
        from_rules: `artifacts.enabled`.
        environment: the value of MLFLOW_SERVE_ARTIFACTS, None if it is not set.
        option: the value of mlflow_serve_artifacts, "" if it is not set.

    Raises:
        RulesError: the option or the variable is neither yes nor no.
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


def switched_off(
    artifacts: ArtifactSwitch, switch: Switch, key: str = "artifacts"
) -> dict[Operation, str]:
    """Return the operations on artifacts that are refused, each with the setting that refuses it.

    Without writes, there are no deletions either.

    Args:
        artifacts: the section of the rules.
        switch: its position (see `switch`).
        key: the key path of the section.
    """
    if not switch.on:
        return dict.fromkeys(OPERATIONS, switch.source)
    positions: dict[Operation, bool] = {
        "read": artifacts.read,
        "write": artifacts.write,
        "delete": artifacts.delete,
    }
    off: dict[Operation, str] = {name: f"{key}.{name}" for name, on in positions.items() if not on}
    return off | {"delete": off["write"]} if "write" in off else off


def artifact_endpoints(paths: Iterable[str], artifacts: Artifacts) -> list[Endpoint]:
    """Return the endpoints that make a request an artifact request; none for other requests.

    Each path is read as MLflow reads it: MLflow treats repeated slashes as one (by a redirect),
    accepts a final slash on some routes, and can serve all of them below a prefix.

    Args:
        paths: the paths (decoded) under which the request may arrive.
        artifacts: the section of the rules.
    """
    return _matching(strict_forms(paths), artifacts)


def suspected_endpoints(folded: Iterable[str], artifacts: Artifacts) -> list[Endpoint]:
    """Return the endpoints of a request for servers that read paths less strictly than MLflow.

    A server or middlebox in between may resolve parts that MLflow does not: dot segments,
    backslashes, several layers of encoding, matrix parameters, any case.

    Args:
        folded: the paths under which the request may arrive, read by `target.fold`.
        artifacts: the section of the rules.
    """
    return _matching(lenient_forms(folded), artifacts)


def strict_forms(paths: Iterable[str]) -> dict[str, None]:
    """Return the forms in which MLflow itself may read paths (decoded)."""
    forms = (form for path in paths for form in (path, path.rstrip("/"), _SLASHES.sub("/", path)))
    return dict.fromkeys(forms)


def lenient_forms(folded: Iterable[str]) -> dict[str, None]:
    """Return the forms in which others may read paths, from those read by `target.fold`."""
    return dict.fromkeys(form for path in folded for form in (path, path.lower()))


def _matching(forms: Iterable[str], artifacts: Artifacts) -> list[Endpoint]:
    found = (artifacts.matching(form, last_root(form)) for form in forms)
    return [*dict.fromkeys(chain.from_iterable(found))]


def methods(method: str, overrides: Iterable[str | None]) -> list[str]:
    """Return the methods that a server may use: the request's, and those of override headers."""
    return [method, *(override.strip() for override in overrides if override)]


def counts(method: str, endpoint: Endpoint) -> bool:
    """Return whether a request with a method to an endpoint is an artifact request."""
    return not endpoint.methods or method.upper() in endpoint.methods


def operation(method: str, endpoint: Endpoint) -> Operation:
    """Return the operation of a request."""
    return endpoint.operation or by_method(method)


def by_method(method: str) -> Operation:
    """Return the operation of a method in any case; unknown methods write."""
    match method.upper():
        case "GET" | "HEAD" | "OPTIONS":
            return "read"
        case "DELETE":
            return "delete"
        case _:
            return "write"


def names_field(body: bytes, field: str) -> bool:
    """Return whether a GraphQL request (JSON with a `query`) may ask for a field.

    A body that we cannot read counts as asking, because MLflow might be able to read it. A name in
    a GraphQL document cannot be escaped or split, so if a field is used, its name is in the decoded
    query (https://spec.graphql.org/October2021/#Name).
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
    """Return the answer to an artifact request that the switch refuses.

    MLflow's client repeats a 503 seven times, with pauses that double up to minutes, unless the
    answer sets the pause (`Retry-After`, RFC 9110, section 10.2.3; 0 is ignored).

    Args:
        status: HTTP status, `artifacts.disabled_status`.
        operation: the operation of the request.
        allowed: the operations that are allowed.
        request_id: also in the log.
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
