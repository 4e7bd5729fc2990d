"""The model of `rules.yaml`: validated, frozen.

A rules file decides what the proxy does, so nothing in it is guessed: unknown keys, wrong types,
bad regular expressions and duplicate names are refused. Each class is a section of the file; the
descriptions of its fields are also in the JSON Schema for editors.

The larger sections have modules of their own. Everybody else imports them from here.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field, field_validator

from ..protocol.target import api_index
from .artifacts import OPERATIONS, Artifacts, ArtifactSwitch, Endpoint, Operation
from .errors import ErrorOverride, Errors, Login
from .health import HEALTH_PATHS, Health, Probe
from .limits import Drain, Limits, Streaming
from .mounts import MOST, Mount
from .patterns import below_any_prefix, found
from .refused import RefusedOperation
from .section import Section, host_listed, refuse_duplicates
from .upstream import Credential, RewriteRule, Upstream
from .values import HostPattern, Network, OriginName

__all__ = [
    "HEALTH_PATHS",
    "OPERATIONS",
    "ArtifactSwitch",
    "Artifacts",
    "Credential",
    "Drain",
    "Endpoint",
    "ErrorOverride",
    "Errors",
    "Forwarded",
    "Health",
    "Limits",
    "Login",
    "Mount",
    "Operation",
    "Origins",
    "Probe",
    "RefusedOperation",
    "RewriteRule",
    "Rules",
    "Streaming",
    "Upstream",
    "host_listed",
]


class Origins(Section):
    """Sites whose pages may change something through a browser."""

    allowed: list[OriginName] = Field(
        default=[],
        description="Origins of web pages that may change something, besides the proxy's own; * "
        "allows all. They may also read the proxy's own errors.",
    )


class Forwarded(Section):
    """X-Forwarded-For, -Proto, -Host and -Prefix."""

    send: bool = Field(
        default=False,
        description="Tell the upstream the client's address and the public host, scheme and "
        "prefix; a client's own values are dropped.",
    )
    trusted: list[Network] = Field(
        default=[],
        description="Networks of load balancers in front of the proxy, whose X-Forwarded-* or "
        "Forwarded are believed.",
    )


class Rules(Section):
    """Rules of the MLflow proxy (rules.yaml)."""

    upstream: Upstream = Upstream()
    mounts: Annotated[list[Mount], Field(min_length=1, max_length=MOST)] = Field(
        default=[Mount(path="/")], description="Public paths under which all of MLflow is served."
    )
    allowed_hosts: list[HostPattern] = Field(
        default=[],
        description="Names, addresses and networks under which clients may address the proxy; "
        "empty: every name.",
    )
    rewrites: list[RewriteRule] = Field(default=[], description="The first match counts.")
    origins: Origins = Origins()
    forwarded: Forwarded = Forwarded()
    artifacts: Artifacts = Artifacts()
    refused: list[RefusedOperation] = Field(
        default=[], description="Operations beyond artifacts that are refused; first match counts."
    )
    errors: Errors = Errors()
    streaming: Streaming = Streaming()
    limits: Limits = Limits()
    drain: Drain = Drain()
    health: Health = Health()

    @field_validator("rewrites", "refused")
    @classmethod
    def _unique_names(cls, value: list[Any]) -> list[Any]:
        refuse_duplicates(rule.name for rule in value)
        return value

    @field_validator("health")
    @classmethod
    def _unique_probes(cls, value: Health) -> Health:
        refuse_duplicates(probe.name for probe in value.probes)
        return value

    @field_validator("mounts")
    @classmethod
    def _unique_mounts(cls, value: list[Mount]) -> list[Mount]:
        refuse_duplicates(str(mount) for mount in value)
        if all(mount.upstream for mount in value):
            raise ValueError("expected a path for the upstream of the command line as well")
        return value

    @cached_property
    def mounts_longest_first(self) -> tuple[str, ...]:
        """The mounts of the command line's upstream, in the order in which they are tried.

        "" is the root.
        """
        paths = (mount.path for mount in self.mounts if mount.upstream is None)
        return tuple(sorted(paths, key=len, reverse=True))

    @cached_property
    def _api_paths(self) -> list[re.Pattern[str]]:
        return [below_any_prefix(path) for path in self.errors.api_paths]

    def is_api_path(self, path: str) -> bool:
        """Return whether errors on a path (decoded, below the mount) have to be JSON."""
        forms = {path, path[api_index(path) :]}
        return any(pattern.fullmatch(form) for pattern in self.errors.api_paths for form in forms)

    def is_api_below_a_prefix(self, path: str, last: int) -> bool:
        """The same with any prefix in front (see `Artifacts.matching`)."""
        return any(found(pattern, path, last) is not None for pattern in self._api_paths)
