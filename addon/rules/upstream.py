"""The sections `upstream` and `rewrites`: the registry behind the proxy and its paths."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field, model_validator

from .section import Section, host_listed
from .values import (
    FilePath,
    FilterExpression,
    Host,
    Name,
    PathPrefix,
    Regex,
    Seconds,
    VariableName,
)


class Credential(Section):
    """Credentials that the proxy adds to requests for a registry; never the secret itself."""

    host: Host = Field(description="Host (or host:port) of the registry, which alone gets them.")
    scheme: Literal["bearer", "basic"] = Field(
        default="bearer",
        description="bearer: the secret is a token; basic: it is USER:PASSWORD.",
    )
    file: FilePath = Field(
        default=None, description="File with the secret; it is read again when it changes."
    )
    env: VariableName | None = Field(
        default=None, description="Environment variable with the secret, in place of a file."
    )

    @model_validator(mode="after")
    def _has_one_source(self) -> Credential:
        if (self.file is None) is (self.env is None):
            raise ValueError("expected either file or env, where the secret is")
        return self


class Upstream(Section):
    """The registry behind the proxy."""

    external_hosts: list[Host] = Field(
        default=[], description="Hosts (or host:port) that serve only /ajax-api/."
    )
    dialect: Literal["auto", "standard", "ajax"] = Field(
        default="auto",
        description="API of an upstream that is not listed: ajax (only /ajax-api/), standard "
        "(/api/), or auto (detected).",
    )
    base_path: PathPrefix = Field(
        default="", description="Prefix of every path that goes upstream."
    )

    connect_timeout: Seconds = Field(
        default=10, description="Seconds until a connection (with TLS) is made."
    )
    response_timeout: Seconds = Field(
        default=300, description="Seconds from the end of a request to the head of its response."
    )
    idle_timeout: Seconds = Field(
        default=120, description="Seconds without any byte of a body, in either direction."
    )
    event_idle_timeout: Annotated[float, Field(ge=0, le=86400)] = Field(
        default=0,
        description="The same for event streams (text/event-stream); 0: no limit.",
    )
    credentials: list[Credential] = Field(
        default=[],
        description="Added to requests without an Authorization header; the first entry for a "
        "registry counts.",
    )

    @cached_property
    def _external(self) -> frozenset[str]:
        return frozenset(self.external_hosts)

    def is_external(self, host: str, port: int) -> bool:
        """Return whether an upstream (host name without port, TCP port) serves only /ajax-api/."""
        return self.dialect == "ajax" or self.is_listed(host, port)

    def is_listed(self, host: str, port: int) -> bool:
        """Return whether an upstream is one of the external hosts."""
        return host_listed(host, port, self._external)

    def credential(self, host: str, port: int) -> Credential | None:
        """Return the credentials to add for an upstream, if there are any."""
        return next((c for c in self.credentials if host_listed(host, port, [c.host])), None)


class RewriteRule(Section):
    """A rewrite of the beginning of a path."""

    name: Name = Field(description="Shown in logs and flow comments.")
    match: Regex = Field(
        description="Regular expression, read from the start of the path below the mount."
    )
    replace: str = Field(description=r"Replaces the matched part; \1 is the first group.")
    upstream: Literal["external", "internal", "any"] | list[Host] = Field(
        default="any", description="Upstreams to which the rule applies."
    )
    filter: FilterExpression = Field(
        default=None, description='mitmproxy filter expression on the request, such as "~m PUT".'
    )

    @model_validator(mode="after")
    def _replacement_fits(self) -> RewriteRule:
        if not self.replace.startswith("/"):
            raise ValueError(f"replace: {self.replace!r}: expected a path that starts with /")
        try:
            # Compiles the template, and so checks its group references, without any match.
            self.match.sub(self.replace, "")
        except (re.error, IndexError) as error:
            raise ValueError(f"replace: {self.replace!r} does not fit match: {error}") from None
        return self

    def applies_to(self, host: str, port: int, external: bool) -> bool:
        """Return whether the rule's condition on the upstream holds."""
        if isinstance(self.upstream, list):
            return host_listed(host, port, self.upstream)
        return self.upstream == "any" or (self.upstream == "external") is external
