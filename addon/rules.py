"""The model of `rules.yaml`: read once, validated, frozen.

A rules file is the only input that decides what the proxy does, so nothing in it is guessed:
unknown keys, wrong types, bad regular expressions and duplicate names are refused, each with its
line, key path, value and what was expected.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from . import yaml_lines

DEFAULT_PATH = Path(__file__).resolve().parent.parent / "rules.yaml"
"""The file that is shipped, beside the package."""

SIZE_UNITS = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


class RulesError(ValueError):
    """A rules file that cannot be used. The message names file, line, key path and value."""


def _regex(value: object) -> re.Pattern[str]:
    if not isinstance(value, str):
        raise ValueError("expected a regular expression in a string")
    try:
        return re.compile(value)
    except re.error as error:
        raise ValueError(f"not a valid regular expression: {error}") from None


def _size(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = re.fullmatch(r"(\d+) ?([KMG]iB|B|)", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("expected a number of bytes, or one with a unit such as 512KiB or 1MiB")
    return int(match[1]) * SIZE_UNITS[match[2]]


def _host(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]+(:\d+)?|\[[0-9A-Fa-f:.]+\](:\d+)?", value):
        raise ValueError("expected a host name or host:port, without scheme and path")
    return value.lower()


def _path_prefix(value: str) -> str:
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*/?", value):
        raise ValueError("expected a path of plain segments that starts with /")
    return value.rstrip("/")


def _request_path(value: str) -> str:
    if not re.fullmatch(r"/[!-~]*", value) or "#" in value:
        raise ValueError("expected a path that starts with /, percent-encoded where needed")
    return value


def _filter(value: str | None) -> str | None:
    if value is not None:
        # Imported here alone: only a rule with a filter needs mitmproxy.
        from .filters import parse_request_filter

        parse_request_filter(value)
    return value


Regex = Annotated[
    re.Pattern[str],
    BeforeValidator(_regex),
    WithJsonSchema({"type": "string", "format": "regex"}),
]
Size = Annotated[
    int,
    BeforeValidator(_size),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "string", "pattern": r"^\d+ ?([KMG]iB|B|)$"},
            ]
        }
    ),
]
Host = Annotated[str, AfterValidator(_host)]
PathPrefix = Annotated[str, AfterValidator(_path_prefix)]
RequestPath = Annotated[str, AfterValidator(_request_path)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
ErrorCodeName = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]
Seconds = Annotated[float, Field(gt=0, le=3600)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True)


class Upstream(_Model):
    """What stands behind the proxy."""

    external_hosts: list[Host] = Field(
        default=[], description="Hosts (or host:port) that serve only /ajax-api/."
    )
    base_path: PathPrefix = Field(
        default="", description="Put in front of every path that goes upstream."
    )

    @cached_property
    def _external(self) -> frozenset[str]:
        return frozenset(self.external_hosts)

    def is_external(self, host: str, port: int) -> bool:
        """Tell whether an upstream (host name without port, TCP port) is listed as external."""
        return host_listed(host, port, self._external)


class RewriteRule(_Model):
    """A rewrite of the beginning of a path."""

    name: Name = Field(description="Shown in logs and flow comments.")
    match: Regex = Field(
        description="Regular expression, read from the start of the path below the mount."
    )
    replace: str = Field(description=r"Takes the place of the matched part; \1 is its first group.")
    upstream: Literal["external", "internal", "any"] | list[Host] = Field(
        default="any", description="The upstreams for which the rule holds."
    )
    filter: Annotated[str | None, AfterValidator(_filter)] = Field(
        default=None, description='mitmproxy filter expression on the request, such as "~m PUT".'
    )

    @model_validator(mode="after")
    def _replacement_fits(self) -> RewriteRule:
        if not self.replace.startswith("/"):
            raise ValueError(f"replace: {self.replace!r}: expected a path that starts with /")
        try:
            # Compiles the template, and with it the group references, without any match.
            self.match.sub(self.replace, "")
        except (re.error, IndexError) as error:
            raise ValueError(f"replace: {self.replace!r} does not fit match: {error}") from None
        return self

    def applies_to(self, host: str, port: int, external: bool) -> bool:
        """Tell whether the rule's condition on the upstream holds."""
        if isinstance(self.upstream, list):
            return host_listed(host, port, self.upstream)
        return self.upstream == "any" or (self.upstream == "external") is external


class Endpoint(_Model):
    """Requests that the artifact switch covers."""

    path: Regex = Field(description="Regular expression for the whole path below the mount.")
    graphql_field: Name | None = Field(
        default=None, description="Only GraphQL documents that name this field count."
    )


class Artifacts(_Model):
    """The artifact switch."""

    enabled: bool = Field(default=True, description="false answers artifact requests with 503.")
    endpoints: list[Endpoint] = Field(default=[], description="What counts as an artifact request.")


class Errors(_Model):
    """How errors become JSON."""

    api_paths: list[Regex] = Field(
        default=[], description="Regular expressions for whole paths below the mount."
    )
    codes: dict[Annotated[str, Field(pattern=r"^([45]\d\d|[45]xx)$")], ErrorCodeName] = Field(
        default={}, description="error_code by HTTP status; 4xx and 5xx stand for the rest."
    )

    @field_validator("codes", mode="before")
    @classmethod
    def _statuses_as_text(cls, value: object) -> object:
        # YAML reads 404 as a number and 4xx as text.
        if isinstance(value, dict):
            return {str(k) if type(k) is int else k: v for k, v in value.items()}
        return value

    def code(self, status: int) -> str:
        """The error_code for an HTTP status >= 400."""
        return (
            self.codes.get(str(status))
            or self.codes.get(f"{status // 100}xx")
            or ("INTERNAL_ERROR" if status >= 500 else "BAD_REQUEST")
        )


class Streaming(_Model):
    """Which bodies are held and which pass through."""

    threshold: Size = Field(
        default=2**20, description="Bytes; larger bodies and those of unknown length stream."
    )


class Probe(_Model):
    """A request that tells whether a part of the registry works for clients."""

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


HEALTH_PATHS = ("/livez", "/readyz", "/health/mlflow", "/health/mlflow/detailed")
"""Paths under every mount that the proxy answers by itself."""


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
    rewrites: list[RewriteRule] = Field(default=[], description="The first that matches counts.")
    artifacts: Artifacts = Artifacts()
    errors: Errors = Errors()
    streaming: Streaming = Streaming()
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
        """The mounts in the order in which a path is compared with them; "" is the root."""
        return tuple(sorted(self.mounts, key=len, reverse=True))

    @cached_property
    def _api_path(self) -> re.Pattern[str]:
        return re.compile("|".join(f"(?:{p.pattern})" for p in self.errors.api_paths) or r"(?!)")

    def is_api_path(self, path: str) -> bool:
        """Tell whether errors on a path (decoded, below the mount) have to be JSON."""
        return self._api_path.fullmatch(path) is not None


def _refuse_duplicates(names: Any) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"duplicate name {twice[0]!r}; expected each name once")


def host_listed(host: str, port: int, hosts: list[str] | frozenset[str]) -> bool:
    """Tell whether `host` (any case, with or without a final dot) or `host:port` is in a list."""
    host = host.lower().rstrip(".")
    if ":" in host:
        host = f"[{host}]"
    return host in hosts or f"{host}:{port}" in hosts


def load(path: Path) -> Rules:
    """Read a rules file.

    Args:
        path: the YAML file.

    Raises:
        RulesError: it cannot be read or is not valid; the message lists every problem.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RulesError(f"{path}: cannot read the rules: {error}") from error
    return parse(text, str(path))


def parse(text: str, source: str) -> Rules:
    """Validate the text of a rules file; `source` stands in error messages."""
    try:
        data, lines = yaml_lines.load(text)
    except yaml_lines.YamlError as error:
        raise RulesError(f"{source}:{error.line}: not valid YAML: {error}") from error
    if data is None:
        data = {}
    try:
        return Rules.model_validate(data)
    except ValidationError as error:
        problems = {_describe(e, data, lines, source) for e in error.errors()}
        raise RulesError("\n".join(text for _, text in sorted(problems))) from None


def schema() -> dict[str, Any]:
    """The JSON Schema of a rules file, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Rules.model_json_schema(),
    }


_EXPECTED = {
    "bool_type": "expected true or false",
    "dict_type": "expected a mapping",
    "list_type": "expected a list",
    "model_type": "expected a mapping",
    "string_type": "expected text",
}


def _describe(
    error: Any, data: Any, lines: dict[yaml_lines.KeyPath, int], source: str
) -> tuple[int, str]:
    """Turn one pydantic error into (line, "file:line: key.path: value: what was expected")."""
    path = _in_file(error["loc"], data)
    line = next(lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in lines)
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    where = f"{source}:{line}: {key.lstrip('.') or 'the file'}"
    kind, message = error["type"], _EXPECTED.get(error["type"], error["msg"])
    if kind == "extra_forbidden":
        known = _keys_at(path[:-1])
        close = difflib.get_close_matches(str(path[-1]), known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(known)}"
        return line, f"{where}: unknown key; {hint}"
    if kind == "missing":
        return line, f"{where}: missing; expected a value"
    if kind == "string_pattern_mismatch":
        message = f"expected text that matches {error['ctx']['pattern']}"
    message = message.removeprefix("Value error, ").replace("Input should be", "expected")
    if isinstance(error["input"], (str, int, float, bool, type(None))):
        return line, f"{where}: {error['input']!r}: {message}"
    return line, f"{where}: {message}"


def _in_file(loc: tuple[str | int, ...], data: Any) -> yaml_lines.KeyPath:
    """The part of a pydantic location that exists in the file (it also names union members)."""
    path: list[str | int] = []
    for part in loc:
        if isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        elif isinstance(data, dict):
            data = next((v for k, v in data.items() if str(k) == str(part)), None)
            part = str(part)
        else:
            break
        path.append(part)
    return tuple(path)


def _keys_at(path: yaml_lines.KeyPath) -> list[str]:
    """The keys that a mapping at a key path may have."""
    model: Any = Rules
    for part in path:
        if isinstance(part, str):
            model = model.model_fields[part].annotation
        elif args := get_args(model):
            model = args[0]
    return list(model.model_fields)
