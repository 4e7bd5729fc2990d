"""The artifact switch: which requests it covers, and what they get while it is off."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from .errors import Reply, json_reply
from .rules import Endpoint
from .rules_file import RulesError
from .target import fold

ENVIRONMENT = "MLFLOW_SERVE_ARTIFACTS"
DISABLED = "ARTIFACTS_DISABLED"

_WORDS = dict.fromkeys(("true", "1", "yes", "on", "y", "t"), True) | dict.fromkeys(
    ("false", "0", "no", "off", "n", "f"), False
)


def artifacts_enabled(from_rules: bool, environment: str | None, option: str) -> bool:
    """Work out the position of the switch: the option over the environment over the rules.

    Args:
        from_rules: `artifacts.enabled`.
        environment: the value of MLFLOW_SERVE_ARTIFACTS, None if it is not set.
        option: the value of mlflow_serve_artifacts, "" if it is not set.

    Raises:
        RulesError: one of them is set to something that is neither yes nor no.
    """
    for source, value in (("mlflow_serve_artifacts", option or None), (ENVIRONMENT, environment)):
        if value is None:
            continue
        try:
            return _WORDS[value.strip().lower()]
        except KeyError:
            raise RulesError(
                f"{source}: {value!r}: expected true or false (or 1/0, yes/no, on/off)"
            ) from None
    return from_rules


def artifact_endpoint(paths: Iterable[str], endpoints: Iterable[Endpoint]) -> Endpoint | None:
    """Find what makes a request an artifact request.

    Each path is read twice, as MLflow reads it and folded (see `target.fold`): whoever stands
    between may resolve what MLflow itself would not.

    Args:
        paths: the paths (decoded, below the mount) under which the request may arrive.
        endpoints: what counts as an artifact request.
    """
    readings = {reading for path in paths for reading in (path, fold(path), path.rstrip("/"))}
    for endpoint in endpoints:
        if any(endpoint.path.fullmatch(reading) for reading in readings):
            return endpoint
    return None


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


def refusal(status: int) -> Reply:
    """The answer to an artifact request while the switch is off.

    MLflow's client repeats a 503 seven times, with pauses that double up to minutes, unless the
    answer names a pause of its own (`Retry-After`, RFC 9110, section 10.2.3; 0 is ignored).

    Args:
        status: HTTP status, `artifacts.disabled_status`.
    """
    content = {
        "error_code": DISABLED,
        "error": DISABLED,
        "message": "Artifact storage is not configured. Please contact your administrator.",
    }
    return json_reply(status, content, {"Retry-After": "1"} if status == 503 else None)
