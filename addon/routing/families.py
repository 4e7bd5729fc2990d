"""The family of a request: its purpose, as a label of metrics."""

from __future__ import annotations

import re
from typing import Literal

from ..rules.model import HEALTH_PATHS
from ..rules.refused import REGISTRY

Family = Literal["tracking", "registry", "artifacts", "otlp", "ui", "health", "other"]

# MLflow's routes, matched from the start of a path (decoded, below the mount).
_FAMILIES: dict[Family, re.Pattern[str]] = {
    "registry": re.compile(rf"/(ajax-)?api/[^/]+/{REGISTRY}\b"),
    "tracking": re.compile(r"/(ajax-)?api/[^/]+/(preview/)?mlflow(/|\Z)|/version\Z"),
    "otlp": re.compile(r"/v1/(traces|metrics|logs)\Z"),
    "ui": re.compile(r"/\Z|/(static-files/|(graphql|favicon\.ico|index\.html)\Z)"),
}


def family(path: str, *, artifact: bool) -> Family:
    """Return the family of a path.

    Args:
        path: decoded, below the mount, as it goes upstream.
        artifact: whether it is an artifact request by the rules.
    """
    if path in HEALTH_PATHS or path == "/health":
        return "health"
    if artifact:
        return "artifacts"
    return next((name for name, regex in _FAMILIES.items() if regex.match(path)), "other")
