"""Rewrites paths of requests, and maps redirects back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from ..protocol.hosts import DEFAULT_PORTS, uri_host
from ..protocol.target import Target
from ..rules.model import RewriteRule

# Characters that a path may contain (RFC 3986, pchar and "/"), and "%" of existing escapes.
_PATH_SAFE = "/:@!$&'()*+,;=~%"
# A scheme is only at the beginning: "/artifacts/s3://bucket" has none.
_ABSOLUTE = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*:)?//")


def rewrite(target: Target, rules: Sequence[RewriteRule], base_path: str) -> tuple[str, str | None]:
    """Return the path that goes upstream for a target.

    A rule matches the beginning of a path. If no rule does, and MLflow's REST API begins after a
    prefix, the rules are tried again after the prefix.

    Args:
        target: the request target below its mount.
        rules: the rules whose conditions hold; the first that matches counts.
        base_path: put in front of every path; no final slash.

    Returns:
        The path to send, without the query, and the name of the rule that changed it, if any.
    """
    if target.raw == "*":
        return "*", None  # The server as a whole (RFC 9112, section 3.2.4).
    for start in dict.fromkeys((0, target.api)):
        path = target.path[start:]
        found = ((rule, match) for rule in rules if (match := rule.match.match(path)))
        if (first := next(found, None)) is None:
            continue
        rule, match = first
        begin = match.expand(rule.replace)
        if target.offsets is not None:
            # The groups are from the decoded path.
            begin = quote(begin, safe=_PATH_SAFE, errors="surrogateescape")
        prefix = target.raw[: target.raw_index(start)] if start else ""
        rest = target.raw[target.raw_index(start + match.end()) :]
        return f"{base_path}{prefix}{begin}{rest}", rule.name
    return f"{base_path}{target.raw}", None


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port of a URL (RFC 6454)."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, scheme: str, authority: str) -> Origin | None:
        """Parse a Host header or the authority of a URL; return None if it is not valid."""
        if not authority.isascii():  # URLs are ASCII, and Python would normalize other characters.
            return None
        try:
            parts = urlsplit(f"{scheme}://{authority}")
            port = parts.port or DEFAULT_PORTS.get(scheme, 0)
        except ValueError:
            return None
        return cls(scheme, parts.hostname, port) if parts.hostname else None

    @property
    def url(self) -> str:
        """The URL of the server, without a path."""
        return f"{self.scheme}://{uri_host(self.host)}:{self.port}"

    def same_place(self, other: Origin) -> bool:
        """Return whether two origins are the same server.

        Behind a TLS terminator a server uses the wrong scheme for itself, so the default ports of
        http and https count as the same.
        """
        defaults = set(DEFAULT_PORTS.values())
        return self.host == other.host and (
            self.port == other.port or {self.port, other.port} <= defaults
        )


def map_location(
    value: str, *, base: str, ours: Iterable[Origin], public: str, mount: str, base_path: str
) -> str:
    """Map a Location or Content-Location (RFC 9110, 10.2.2 and 8.7) to the proxy.

    Args:
        value: the header's value.
        base: the scheme of the request as it went upstream, for "//host/path".
        ours: the origins that lead to the upstream: its own, and the proxy's.
        public: scheme and authority of the proxy for the client, "http://proxy:8080".
        mount: the mount of the request.
        base_path: the prefix that was put in front of the path.

    Returns:
        The value for the client; unchanged if it names another server or a relative path.
    """
    absolute = _ABSOLUTE.match(value) is not None
    if not absolute and not value.startswith("/"):
        return value
    authority = ""
    rest = value
    if absolute:
        scheme, _, after = value.partition("//")
        scheme = scheme.rstrip(":").lower() or base
        cut = min((i for c in "/?#" if (i := after.find(c)) >= 0), default=len(after))
        origin = Origin.of(scheme, after[:cut])
        if scheme not in DEFAULT_PORTS or origin is None:
            return value
        if not any(origin.same_place(known) for known in ours):
            return value
        authority, rest = public, after[cut:]
    path = rest[: min((i for c in "?#" if (i := rest.find(c)) >= 0), default=len(rest))]
    tail = rest[len(path) :]
    if base_path and (path == base_path or path.startswith(base_path + "/")):
        path = path[len(base_path) :]
    if not authority and not mount and path.startswith("//"):
        path = "/" + path.lstrip("/")  # A path of the upstream must not become a host.
    return f"{authority}{mount}{path or '/'}{tail}"
