"""The section `health`: the probes, and the paths that the proxy answers itself."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from .section import Section
from .values import ErrorCodeName, Name, RequestPath, Seconds


class Probe(Section):
    """A request that checks whether a part of the registry works for clients."""

    name: Name = Field(description="Shown in reports.")
    method: Literal["GET", "HEAD", "POST"] = Field(default="GET", description="HTTP method.")
    path: RequestPath = Field(description="Path and query below the mount.")
    body: dict[str, Any] | None = Field(default=None, description="Sent as JSON.")
    expect: Literal["json", "text", "any"] = Field(
        default="json",
        description="json: a JSON body; text: any body but HTML; any: all but a 502 to 504.",
    )
    statuses: list[Annotated[int, Field(ge=100, le=599)]] = Field(
        default=[200], description="Statuses that pass."
    )
    error_codes: list[ErrorCodeName] = Field(
        default=[], description="error_codes that pass, whatever the status."
    )
    optional: bool = Field(default=False, description="A failure is a warning.")

    @field_validator("path")
    @classmethod
    def _not_our_own(cls, value: str) -> str:
        if value.partition("?")[0] in HEALTH_PATHS:
            raise ValueError("expected a path of the upstream; the proxy answers this one itself")
        return value


HEALTH_PATHS = (
    *("/livez", "/readyz", "/readyz/local"),
    *("/health/mlflow", "/health/mlflow/detailed"),
)
"""Paths under every mount that the proxy answers itself."""


class Health(Section):
    """Probes of scripts/probe.sh and of the HTTP health endpoints."""

    timeout: Seconds = Field(default=5, description="Seconds for one probe.")
    cache: Annotated[float, Field(ge=0, le=3600)] = Field(
        default=2, description="Seconds for which a verdict is reused."
    )
    probes: list[Probe] = Field(default=[], description="Run side by side.")
