"""The model of `rules.yaml`: validated, frozen.

A rules file decides what the proxy does, so nothing in it is guessed: unknown keys, wrong types,
bad regular expressions and duplicate names are refused. Each class is a section of the file; the
descriptions of its fields are also in the JSON Schema for editors.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ..protocol.target import api_index
from .patterns import below_any_prefix
from .values import (
    ErrorCodeName,
    ErrorStatus,
    FilePath,
    FilterExpression,
    Host,
    HostPattern,
    Method,
    Name,
    Network,
    OriginName,
    PathPrefix,
    Regex,
    RequestPath,
    Seconds,
    Size,
    Status,
    StatusKey,
    VariableName,
    matches_status,
    uri_host,
)

Operation = Literal["read", "write", "delete"]
"""The effect of a request on artifacts."""

OPERATIONS: tuple[Operation, ...] = get_args(Operation)


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True)


class Credential(_Model):
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


class Upstream(_Model):
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


class RewriteRule(_Model):
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


class Origins(_Model):
    """Sites whose pages may change something through a browser."""

    allowed: list[OriginName] = Field(
        default=[],
        description="Origins of web pages that may change something, besides the proxy's own; * "
        "allows all. They may also read the proxy's own errors.",
    )


class Forwarded(_Model):
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


class Endpoint(_Model):
    """Requests that the artifact switch covers."""

    path: Regex = Field(description="Regular expression for the whole path below the mount.")
    operation: Operation | None = Field(
        default=None,
        description="What the request does; default: by method (GET, HEAD and OPTIONS read, DELETE "
        "deletes, all others write).",
    )
    methods: tuple[Method, ...] = Field(
        default=(),
        strict=False,  # YAML has lists, but endpoints have to be hashable.
        description="HTTP methods that count; empty: all.",
    )
    files: bool = Field(
        default=False,
        description="The bodies are the files themselves, so HTML among them is no error.",
    )
    graphql_field: Name | None = Field(
        default=None, description="Only GraphQL documents that name this field count."
    )


class Artifacts(_Model):
    """The artifact switch."""

    enabled: bool = Field(default=True, description="false refuses artifact requests.")
    read: bool = Field(default=True, description="false refuses downloads and listings.")
    write: bool = Field(
        default=True, description="false refuses uploads and deletions: a read-only registry."
    )
    delete: bool = Field(default=True, description="false refuses deletions.")
    disabled_status: Literal[403, 501, 503] = Field(
        default=503,
        description="Status of a refusal. MLflow's client shows the message of a 501 or 403 at "
        "once and repeats a 503 for some seconds.",
    )
    endpoints: list[Endpoint] = Field(
        default=[], description="The requests that count as artifact requests."
    )

    @cached_property
    def _paths(self) -> list[tuple[Endpoint, re.Pattern[str]]]:
        return [(endpoint, below_any_prefix(endpoint.path)) for endpoint in self.endpoints]

    def matching(self, path: str, last: int) -> list[Endpoint]:
        """Return the endpoints that a path (decoded, below the mount) may lead to.

        MLflow may be served below a prefix that we do not know, so the path is matched from each of
        its slashes on. Of the endpoints that match from the same slash, the first counts.

        Args:
            path: the path.
            last: the last index at which a route can begin (see `target.last_root`).
        """
        found: dict[int, Endpoint] = {}
        for endpoint, anywhere in self._paths:
            # In most paths a route can begin at the first slash alone: no search through the rest.
            found_at = anywhere.search if last else anywhere.match
            if (match := found_at(path)) and match.start() <= last:
                found.setdefault(match.start(), endpoint)
        return [*found.values()]

    def has_files(self, path: str) -> bool:
        """Return whether files are served at a path (decoded, below the mount)."""
        forms = {path, path[api_index(path) :]}
        return any(e.files and e.path.fullmatch(form) for e in self.endpoints for form in forms)


class Login(_Model):
    """Login pages in place of an API's answer."""

    enabled: bool = Field(default=True, description="false lets login pages pass.")
    status: ErrorStatus = Field(default=401, description="Status of the error.")
    error_code: ErrorCodeName = Field(default="UNAUTHENTICATED", description="Its error_code.")
    redirects: list[Regex] = Field(
        default=[],
        description="Regular expressions, searched for in the URL of a redirect: login pages.",
    )
    stores: list[Regex] = Field(
        default=[],
        description="Regular expressions, searched for in the URL of a redirect: object stores.",
    )


class ErrorOverride(_Model):
    """Errors of the upstream that get another status, error_code or message."""

    path: Regex | None = Field(
        default=None, description="Regular expression for the whole path below the mount."
    )
    methods: list[Method] = Field(default=[], description="HTTP methods; none named: all.")
    statuses: Annotated[list[Status], Field(min_length=1)] = Field(
        description="Statuses of the upstream, such as 500 or 5xx."
    )
    says: Regex | None = Field(
        default=None, description="Regular expression, searched for in the upstream's words."
    )
    bodies: Literal["any", "foreign"] = Field(
        default="any", description="foreign: only errors that are not MLflow's JSON already."
    )
    status: ErrorStatus | None = Field(default=None, description="Replaces the status.")
    error_code: ErrorCodeName | None = Field(default=None, description="Replaces the error_code.")
    message: str | None = Field(
        default=None, description="The message begins with it; the upstream's words follow."
    )

    @model_validator(mode="after")
    def _changes_something(self) -> ErrorOverride:
        if self.status is None and self.error_code is None and self.message is None:
            raise ValueError("expected a status, an error_code or a message to send")
        return self


class Errors(_Model):
    """How errors become JSON."""

    api_paths: list[Regex] = Field(
        default=[], description="Regular expressions for whole paths below the mount."
    )
    vocabulary: Literal["default", "mlflow"] = Field(
        default="default",
        description="mlflow: ENDPOINT_NOT_FOUND or RESOURCE_DOES_NOT_EXIST, which the client "
        "knows, in place of RESOURCE_NOT_FOUND.",
    )
    codes: dict[StatusKey, ErrorCodeName] = Field(
        default={}, description="error_code by HTTP status; 4xx and 5xx stand for the rest."
    )
    overrides: list[ErrorOverride] = Field(
        default=[], description="Exceptions; the first match counts."
    )
    login: Login = Login()

    def code(self, status: int, *, file: bool = False) -> str:
        """Return the error_code for an HTTP status >= 400.

        Args:
            status: the HTTP status.
            file: whether the request is for a file; a missing file and a missing route have
                different codes in MLflow's vocabulary.
        """
        code = (
            self.codes.get(str(status))
            or self.codes.get(f"{status // 100}xx")
            or ("INTERNAL_ERROR" if status >= 500 else "BAD_REQUEST")
        )
        if self.vocabulary == "mlflow" and code == "RESOURCE_NOT_FOUND":
            return "RESOURCE_DOES_NOT_EXIST" if file else "ENDPOINT_NOT_FOUND"
        return code

    def override(
        self, *, method: str, paths: Sequence[str], status: int, words: str, foreign: bool
    ) -> ErrorOverride | None:
        """Return the exception that applies to an upstream's error, if any.

        Args:
            method: HTTP method of the request.
            paths: the paths (decoded, below the mount) of the request here and upstream.
            status: of the upstream.
            words: the upstream's message.
            foreign: whether the body is not MLflow's JSON.
        """
        for override in self.overrides:
            if (
                matches_status(status, override.statuses)
                and (foreign or override.bodies == "any")
                and (not override.methods or method in override.methods)
                and (override.path is None or any(map(override.path.fullmatch, paths)))
                and (override.says is None or override.says.search(words))
            ):
                return override
        return None


class Streaming(_Model):
    """Which bodies are held and which pass through."""

    threshold: Size = Field(
        default=2**20, description="Bytes; larger bodies and those of unknown length stream."
    )


class Limits(_Model):
    """Limits on requests and answers."""

    api_body: Size = Field(
        default=100 * 2**20, description="Bytes of the request body of an API call."
    )
    artifact_body: Size = Field(
        default=2**40, description="Bytes of the request body of an artifact."
    )
    request_head: Size = Field(default=2**16, description="Bytes of request line and headers.")
    response_head: Size = Field(
        default=2**16, description="Bytes of status line and headers of an upstream."
    )
    head_timeout: Seconds = Field(
        default=60, description="Seconds from the first byte of a request head to its end."
    )
    body_timeout: Seconds = Field(
        default=60, description="Seconds for which a request body may pause."
    )
    send_timeout: Seconds = Field(
        default=60,
        description="Seconds for which a client may take nothing of an answer that waits.",
    )
    client_idle_timeout: Annotated[float, Field(gt=0, le=86400)] = Field(
        default=3900, description="Seconds for which a client's connection may wait for a request."
    )
    held: Size = Field(
        default=256 * 2**20,
        description="Bytes of bodies in memory, of all requests and answers together.",
    )
    connections: Annotated[int, Field(ge=1)] = Field(
        default=10_000,
        description="Clients that are connected at once; at most half of the files that the "
        "process may open.",
    )
    flows: Annotated[int, Field(ge=1)] = Field(
        default=1000, description="Requests that are served at once."
    )


class Drain(_Model):
    """How the proxy ends after SIGTERM."""

    grace: Annotated[float, Field(ge=0, le=3600)] = Field(
        default=10,
        description="Seconds for which it still serves, while /readyz answers 503; none if nobody "
        "has asked for /readyz in the last five minutes.",
    )
    timeout: Annotated[float, Field(ge=0, le=86400)] = Field(
        default=60, description="Seconds after that for requests in flight."
    )


class Probe(_Model):
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


class Health(_Model):
    """Probes of scripts/probe.sh and of the HTTP health endpoints."""

    timeout: Seconds = Field(default=5, description="Seconds for one probe.")
    cache: Annotated[float, Field(ge=0, le=3600)] = Field(
        default=2, description="Seconds for which a verdict is reused."
    )
    probes: list[Probe] = Field(default=[], description="Run side by side.")


class Rules(_Model):
    """Rules of the MLflow proxy (rules.yaml)."""

    upstream: Upstream = Upstream()
    mounts: Annotated[list[PathPrefix], Field(min_length=1)] = Field(
        default=["/"], description="Public paths under which all of MLflow is served."
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
    errors: Errors = Errors()
    streaming: Streaming = Streaming()
    limits: Limits = Limits()
    drain: Drain = Drain()
    health: Health = Health()

    @field_validator("rewrites")
    @classmethod
    def _unique_rewrites(cls, value: list[RewriteRule]) -> list[RewriteRule]:
        _refuse_duplicates(rule.name for rule in value)
        return value

    @field_validator("health")
    @classmethod
    def _unique_probes(cls, value: Health) -> Health:
        _refuse_duplicates(probe.name for probe in value.probes)
        return value

    @field_validator("mounts")
    @classmethod
    def _unique_mounts(cls, value: list[str]) -> list[str]:
        _refuse_duplicates(mount or "/" for mount in value)
        return value

    @cached_property
    def mounts_longest_first(self) -> tuple[str, ...]:
        """The mounts in the order in which they are tried for a path; "" is the root."""
        return tuple(sorted(self.mounts, key=len, reverse=True))

    @cached_property
    def _api_paths(self) -> list[re.Pattern[str]]:
        return [below_any_prefix(path) for path in self.errors.api_paths]

    def is_api_path(self, path: str) -> bool:
        """Return whether errors on a path (decoded, below the mount) have to be JSON."""
        forms = {path, path[api_index(path) :]}
        return any(pattern.fullmatch(form) for pattern in self.errors.api_paths for form in forms)

    def is_api_below_a_prefix(self, path: str, last: int) -> bool:
        """The same with any prefix in front (see `Artifacts.matching`)."""
        found = (pattern.search(path) for pattern in self._api_paths)
        return any(match is not None and match.start() <= last for match in found)


def _refuse_duplicates(names: Iterable[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"duplicate name {twice[0]!r}; expected each name once")


def host_listed(host: str, port: int, hosts: list[str] | frozenset[str]) -> bool:
    """Return whether `host` (any case, with or without a final dot) or `host:port` is in a list."""
    host = uri_host(host.lower().rstrip("."))
    return host in hosts or f"{host}:{port}" in hosts
