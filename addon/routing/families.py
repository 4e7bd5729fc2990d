"""What a request is for, in a few words that metrics can be divided by."""

from __future__ import annotations

import re
from typing import Literal

from ..rules.model import HEALTH_PATHS

Family = Literal["tracking", "registry", "artifacts", "otlp", "ui", "health", "other"]

# Routes as MLflow has them, read from the start of a path (decoded, below the mount).
_FAMILIES: dict[Family, re.Pattern[str]] = {
    "registry": re.compile(
        r"/(ajax-)?api/[^/]+/(preview/)?mlflow/(registered-models|model-versions|unity-catalog)\b"
    ),
    "tracking": re.compile(r"/(ajax-)?api/[^/]+/(preview/)?mlflow(/|\Z)|/version\Z"),
    "otlp": re.compile(r"/v1/(traces|metrics|logs)\Z"),
    "ui": re.compile(r"/\Z|/(static-files/|(graphql|favicon\.ico|index\.html)\Z)"),
}


def family(path: str, *, artifact: bool) -> Family:
    """The family of a path.

    Args:
        path: decoded, below the mount, as it goes upstream.
        artifact: whether the rules count it as a request for artifacts.
    """
    if path in HEALTH_PATHS or path == "/health":
        return "health"
    if artifact:
        return "artifacts"
    return next((name for name, regex in _FAMILIES.items() if regex.match(path)), "other")
