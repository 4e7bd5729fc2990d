"""The types of values in `rules.yaml`, and how each is checked.

They are pydantic annotations: they read and check a value, and describe it in the JSON Schema.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, WithJsonSchema

from ..protocol import hosts

SIZE_UNITS = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}

_PLAIN_SEGMENT = re.compile(r"[A-Za-z0-9._~-]+")
_STATUS = r"[45]\d\d|[45]xx"


def _regex(value: object) -> re.Pattern[str]:
    if not isinstance(value, str):
        raise ValueError("expected a regular expression in a string")
    try:
        return re.compile(value)
    except (re.error, OverflowError) as error:
        raise ValueError(f"not a valid regular expression: {error}") from None
    except RecursionError:
        raise ValueError("not a usable regular expression: nested too deep") from None


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


def _host_pattern(value: object) -> hosts.HostPattern:
    if not isinstance(value, str):
        raise ValueError("expected a host name, an IP address or a network in a string")
    return hosts.pattern(value)


def is_plain_path(path: str) -> bool:
    """Return whether all servers read a path, without a final slash, in the same way; "" is fine.

    No escapes, empty or dot segments: "//evil.example" is another server (RFC 3986, section 4.2).
    """
    segments = path.split("/")
    return not segments[0] and all(
        _PLAIN_SEGMENT.fullmatch(segment) and segment not in (".", "..") for segment in segments[1:]
    )


def _path_prefix(value: str) -> str:
    if not is_plain_path(value.removesuffix("/")):
        raise ValueError("expected a path of plain segments that starts with /")
    return value.rstrip("/")


def _request_path(value: str) -> str:
    if not re.fullmatch(r"/[!-~]*", value) or "#" in value:
        raise ValueError("expected a path that starts with /, percent-encoded where needed")
    return value


def _origin(value: str) -> str:
    if value != "*" and not re.fullmatch(r"https?://[a-z0-9_.:\[\]-]+", value):
        raise ValueError("expected an origin such as https://lab.example.org, or *")
    if re.fullmatch(r"http:.*:80|https:.*:443", value):
        raise ValueError(
            "expected an origin as browsers send it, without the scheme's default port"
        )
    return value


def _network(value: object) -> IPv4Network | IPv6Network:
    if not isinstance(value, str):
        raise ValueError("expected a network such as 10.0.0.0/8, or an IP address")
    try:
        return ip_network(value)
    except ValueError as error:
        raise ValueError(
            f"expected a network such as 10.0.0.0/8, or an IP address: {error}"
        ) from None


def _status(value: object) -> str:
    # YAML reads 404 as a number and 4xx as text.
    text = str(value) if type(value) is int else value
    if not isinstance(text, str) or not re.fullmatch(_STATUS, text):
        raise ValueError("expected an error status such as 404, or a class of them: 4xx, 5xx")
    return text


def _file(value: str | None) -> str | None:
    if value is not None and not (value.startswith("/") and value.isprintable()):
        raise ValueError("expected an absolute path")
    return value


def _filter(value: str | None) -> str | None:
    if value is not None:
        # Imported here: only a rule with a filter needs mitmproxy.
        from .filters import parse_request_filter

        parse_request_filter(value)
    return value


def matches_status(status: int, classes: Iterable[str]) -> bool:
    """Return whether a status is listed ("404") or in a listed class ("4xx")."""
    return not {str(status), f"{status // 100}xx"}.isdisjoint(classes)


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
HostPattern = Annotated[
    hosts.HostPattern, PlainValidator(_host_pattern), WithJsonSchema({"type": "string"})
]
Network = Annotated[
    IPv4Network | IPv6Network, BeforeValidator(_network), WithJsonSchema({"type": "string"})
]
OriginName = Annotated[str, AfterValidator(_origin)]
PathPrefix = Annotated[str, AfterValidator(_path_prefix)]
RequestPath = Annotated[str, AfterValidator(_request_path)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
ErrorCodeName = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]
StatusKey = Annotated[
    str, BeforeValidator(_status), WithJsonSchema({"type": "string", "pattern": f"^({_STATUS})$"})
]
Status = Annotated[
    str,
    BeforeValidator(_status),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 400, "maximum": 599},
                {"type": "string", "pattern": f"^({_STATUS})$"},
            ]
        }
    ),
]
ErrorStatus = Annotated[int, Field(ge=400, le=599)]
FilePath = Annotated[str | None, AfterValidator(_file)]
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Method = Annotated[str, Field(pattern=r"^[A-Z]+$")]
Seconds = Annotated[float, Field(gt=0, le=3600)]
FilterExpression = Annotated[str | None, AfterValidator(_filter)]
