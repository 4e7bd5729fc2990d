"""Everything that the hooks need from rules, environment and options, replaced as a whole."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..rules.filters import Filter, parse_request_filter
from ..rules.model import (
    OPERATIONS,
    Operation,
    Rules,
    Upstream,
)
from ..rules.rules_file import RulesError, load
from ..rules.values import is_plain_path, uri_host
from . import gate
from .credentials import Credentials
from .routes import Router


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings in force."""

    rules: Rules
    switch: gate.Switch
    allowed: frozenset[Operation]
    """The operations on artifacts that are allowed."""
    wary: bool
    """Whether some operations, on artifacts or others, are not allowed."""
    filters: dict[int, Filter]
    """Compiled filter expressions by the index of their rule."""
    router: Router = field(compare=False)
    credentials: Credentials = field(compare=False, repr=False)
    """What the proxy adds for registries."""


BASE_PATH = "mlflow_base_path"
"""mitmproxy's option that overrides `upstream.base_path`."""


def read(path: Path, environment: str | None, option: str, base_path: str = "") -> Settings:
    """Read a rules file, and set the artifact switch.

    Args:
        path: the rules file.
        environment: the value of MLFLOW_SERVE_ARTIFACTS, None if it is not set.
        option: the value of mlflow_serve_artifacts, "" if it is not set.
        base_path: the value of mlflow_base_path, "" if it is not set.

    Raises:
        RulesError: one of them cannot be used.
    """
    rules = load(path)
    if base_path:
        if not is_plain_path(below := base_path.rstrip("/")):
            raise RulesError(f"{BASE_PATH}: {base_path!r}: expected a path such as /mlflow")
        upstream = rules.upstream.model_copy(update={"base_path": below})
        rules = rules.model_copy(update={"upstream": upstream, **_with_mount(rules, below)})
    switch = gate.switch(rules.artifacts.enabled, environment, option)
    allowed = gate.allowed_operations(rules.artifacts, switch.on)
    filters = {
        index: parse_request_filter(rule.filter)
        for index, rule in enumerate(rules.rewrites)
        if rule.filter
    }
    partly = len(allowed) < len(OPERATIONS)
    if partly and not rules.artifacts.endpoints:
        raise RulesError(
            f"{path}: artifacts.endpoints: []: expected the requests to refuse, because "
            f"{_what_is_off(switch, allowed)}; the shipped rules.yaml lists those of MLflow"
        )
    wary = partly or bool(rules.refused)
    try:
        credentials = Credentials(rules.upstream)
    except ValueError as error:
        raise RulesError(f"{path}: {error}") from None
    return Settings(rules, switch, allowed, wary, filters, Router(rules, wary=wary), credentials)


def _with_mount(rules: Rules, base_path: str) -> dict[str, Any]:
    """Return mounts with the base path among them: clients may use it or leave it out."""
    mounts = [*dict.fromkeys((*rules.mounts, base_path))]
    longest_first = tuple(sorted(mounts, key=len, reverse=True))
    return {"mounts": mounts, "mounts_longest_first": longest_first}


def _what_is_off(switch: gate.Switch, allowed: frozenset[Operation]) -> str:
    if not switch.on:
        return f"{switch.source} switches artifacts off"
    off = [operation for operation in OPERATIONS if operation not in allowed]
    return f"artifacts.{off[0]} is switched off"


def adapted(
    settings: Settings, address: tuple[str, int], *, is_ajax: bool, base_path: str
) -> Settings:
    """Return settings with the findings about one upstream; they are only for that upstream.

    Args:
        settings: the settings from `read`.
        address: host and port of the upstream.
        is_ajax: whether it serves only /ajax-api/.
        base_path: the path below which it serves, without a final slash.
    """
    upstream = settings.rules.upstream.model_dump()
    if is_ajax:
        host, port = address
        upstream["external_hosts"].append(f"{uri_host(host)}:{port}")
    changes: dict[str, Any] = {}
    if base_path and not upstream["base_path"]:
        upstream["base_path"] = base_path
        changes = _with_mount(settings.rules, base_path)
    changes["upstream"] = Upstream.model_validate(upstream)
    rules = settings.rules.model_copy(update=changes)
    return replace(settings, rules=rules, router=Router(rules, wary=settings.wary))
