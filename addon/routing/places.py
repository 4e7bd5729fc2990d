"""Maps places in the headers of an answer from the upstream to the proxy.

These are Location and Content-Location (RFC 9110, 10.2.2 and 8.7), Link (RFC 8288), Refresh, and
the paths and domains of cookies (RFC 6265). Strict-Transport-Security passes: browsers ignore it
over plain HTTP (RFC 6797, section 8.1), and over TLS it asks for what is there already. A
Content-Security-Policy passes as well: only the registry knows what it has to allow.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..protocol import hosts
from ..protocol.headers import Fields, Pairs
from .rewrite import Origin, map_location

_COOKIE = b"set-cookie"
_LINK = re.compile(r"(?<![^,])(\s*<)([^<>]*)(?=>)")
# https://html.spec.whatwg.org/#shared-declarative-refresh-steps
# Possessive: white space fits into several parts, and backtracking would take quadratic time.
_REFRESH = re.compile(
    r"""(\s*+[\d.]*+(?:\s++[;,]?+|[;,])\s*+(?:url\s*+=\s*+)?+["']?+)([^\s"'][^"']*)""",
    re.IGNORECASE,
)
_DROPPED = frozenset(
    {
        b"alt-svc",  # Sends clients around the proxy, or to a port that it does not have.
        # They pin the registry's keys: clients would accept no others under the proxy's name.
        b"public-key-pins",
        b"public-key-pins-report-only",
    }
)
_URLS = frozenset({b"location", b"content-location"})
_CONCERNED = _DROPPED | _URLS | {_COOKIE, b"link", b"refresh"}


def are_in(fields: Fields) -> bool:
    """Return whether any header of an answer (by lower-case names) has to be mapped."""
    return not _CONCERNED.isdisjoint(fields)


@dataclass(frozen=True, slots=True)
class Places:
    """Where a client finds the places of an upstream."""

    upstream: Origin
    scheme: str
    """The scheme of the client's request, as far as it is known: "http" or "https"."""
    authority: str
    """Host and port of the client's request; "" if it has none."""
    mount: str
    """The prefix of the client's paths."""
    base_path: str
    """The prefix of the upstream's paths."""

    def headers(self, headers: Pairs) -> Pairs:
        """Return the headers of an answer for the client."""
        return tuple(
            (name, self._value(name.lower(), value))
            for name, value in headers
            if name.lower() not in _DROPPED
        )

    def _value(self, name: bytes, value: bytes) -> bytes:
        if name not in _CONCERNED:
            return value
        text = value.decode("utf-8", "surrogateescape")
        if name in _URLS:
            text = self.url(text)
        elif name == _COOKIE:
            text = self.cookie(text)
        elif name == b"link":
            text = _LINK.sub(lambda match: match[1] + self.url(match[2]), text)
        elif match := _REFRESH.match(text):
            text = match[1] + self.url(match[2]) + text[match.end() :]
        return text.encode("utf-8", "surrogateescape")

    def url(self, url: str) -> str:
        """Map a URL (see `map_location`)."""
        public = Origin.of(self.scheme, self.authority)
        return map_location(
            url,
            base=self.upstream.scheme,
            ours=[self.upstream, public] if public else [self.upstream],
            public=f"{self.scheme}://{self.authority}" if public else "",
            mount=self.mount,
            base_path=self.base_path,
        )

    def cookie(self, value: str) -> str:
        """Map the Path of a Set-Cookie, and drop its Domain if that is the upstream's.

        A Domain that also covers the public name stays: the cookie is for both. Without a Domain
        the cookie is only for the proxy's host.

        Secure stays, although browsers refuse such a cookie over plain HTTP: the registry wants it
        to be encrypted on the way, and the proxy cannot know for sure where TLS ends. nginx and
        Envoy keep it, too.
        """
        pair, *attributes = value.split(";")
        # The last of several counts (RFC 6265, section 5.3).
        domains = [said for name, said in map(_attribute, attributes) if name == "domain" and said]
        drop = bool(domains) and self._is_upstreams(domains[-1])
        # Its Path has to be "/"; otherwise browsers refuse the cookie.
        pinned = pair.strip().lower().startswith("__host-")
        kept = [pair]
        for attribute in attributes:
            name, said = _attribute(attribute)
            if name == "domain" and drop:
                continue
            if name == "path" and said.startswith("/") and not pinned:
                attribute = f"{attribute.partition('=')[0]}={self._cookie_path(said)}"
            kept.append(attribute)
        return ";".join(kept)

    def _is_upstreams(self, domain: str) -> bool:
        """Return whether a Domain covers the upstream and not the proxy."""
        public = hosts.split(self.authority)
        return _covers(domain, self.upstream.host) and not (public and _covers(domain, public[0]))

    def _cookie_path(self, path: str) -> str:
        base = self.base_path
        if path == base or path.startswith(base + "/"):
            path = path[len(base) :]
        elif f"{base}/".startswith(path.rstrip("/") + "/"):
            path = ""  # It covers everything below the base path.
        # "/mlflow/" would not cover "/mlflow".
        return self.mount + ("" if path == "/" else path) or "/"


def _attribute(text: str) -> tuple[str, str]:
    """Return name (lower-case) and value of an attribute of a cookie."""
    name, _, said = text.partition("=")
    return name.strip().lower(), said.strip()


def _covers(domain: str, host: str) -> bool:
    """Return whether a cookie's Domain covers a host (RFC 6265, section 5.1.3)."""
    domain = domain.removeprefix(".").lower()
    return host == domain or (host.endswith(f".{domain}") and not hosts.is_fixed(host))
