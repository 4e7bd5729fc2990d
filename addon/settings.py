"""All that the hooks need from rules, environment and options, swapped as a whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from mitmproxy import flowfilter

from . import gate
from .filters import parse_request_filter
from .routes import Router
from .rules import OPERATIONS, Operation, Rules
from .rules_file import load


@dataclass(frozen=True, slots=True)
class Settings:
    """What is in force."""

    rules: Rules
    allowed: frozenset[Operation]
    """What may be done to artifacts."""
    filters: dict[int, flowfilter.TFilter]
    """Compiled filter expressions by the index of their rule."""
    router: Router = field(compare=False)


def read(path: Path, environment: str | None, option: str) -> Settings:
    """Read a rules file and put the position of the artifact switch over it.

    Args:
        path: the rules file.
        environment: the value of MLFLOW_SERVE_ARTIFACTS, None if it is not set.
        option: the value of mlflow_serve_artifacts, "" if it is not set.

    Raises:
        RulesError: one of them cannot be used.
    """
    rules = load(path)
    enabled = gate.artifacts_enabled(rules.artifacts.enabled, environment, option)
    allowed = gate.allowed_operations(rules.artifacts, enabled)
    filters = {
        index: parse_request_filter(rule.filter)
        for index, rule in enumerate(rules.rewrites)
        if rule.filter
    }
    return Settings(rules, allowed, filters, Router(rules, wary=len(allowed) < len(OPERATIONS)))
