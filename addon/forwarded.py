"""X-Forwarded-For, -Proto, -Host and -Prefix: whom a request came from, and what it asked for.

Only what a trusted peer says is believed, and anybody's else is replaced: else each client could
choose the address that stands in the logs of the registry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address

Network = IPv4Network | IPv6Network

FOR, PROTO, HOST, PREFIX = (
    b"x-forwarded-for",
    b"x-forwarded-proto",
    b"x-forwarded-host",
    b"x-forwarded-prefix",
)
NAMES = (FOR, PROTO, HOST, PREFIX)
_SHOWN = {FOR: "X-Forwarded-For", PROTO: "X-Forwarded-Proto"}
_SHOWN |= {HOST: "X-Forwarded-Host", PREFIX: "X-Forwarded-Prefix"}


@dataclass(frozen=True, slots=True)
class Forwarded:
    """How a request reached the first proxy that is trusted, or this one."""

    client: str
    """IP address of the client, as far as proxies are trusted."""
    chain: str
    """Addresses from the client to the peer, for X-Forwarded-For."""
    scheme: str
    host: str
    prefix: str
    """Path that proxies have taken away from the front; no final slash."""

    def headers(self, mount: str) -> list[tuple[str, str]]:
        """What the upstream is told.

        Args:
            mount: the path that this proxy takes away, "" for none.
        """
        values = {FOR: self.chain, PROTO: self.scheme, HOST: self.host}
        if prefix := self.prefix + mount:
            values[PREFIX] = prefix
        return [(_SHOWN[name], value) for name, value in values.items() if value]


def read(
    fields: Mapping[bytes, bytes],
    *,
    peer: str,
    scheme: str,
    host: str,
    trusted: Sequence[Network],
) -> Forwarded:
    """Read the headers of a request.

    Args:
        fields: its headers, by lower-case names.
        peer: IP address of whoever has connected.
        scheme: "http" or "https", as the peer has connected.
        host: that it has asked for.
        trusted: the networks of proxies whose word counts.
    """
    if not is_trusted(peer, tuple(trusted)):
        return Forwarded(peer, peer, scheme, host, "")
    chain = [part.strip() for part in _text(fields, FOR).split(",") if part.strip()]
    client = peer
    # From the right: what stands left of the first address that is not trusted, anybody can write.
    for address in reversed(chain):
        if not _is_address(address):
            break
        client = address
        if not is_trusted(address, tuple(trusted)):
            break
    proto = _first(fields, PROTO).lower()
    prefix = _text(fields, PREFIX).rstrip("/")
    return Forwarded(
        client=client,
        chain=", ".join([*chain, peer]),
        scheme=proto if proto in ("http", "https") else scheme,
        host=_first(fields, HOST) or host,
        prefix=prefix if prefix.startswith("/") else "",
    )


@lru_cache(1024)
def is_trusted(address: str, trusted: tuple[Network, ...]) -> bool:
    """Tell whether an IP address is in one of some networks."""
    found = ip_address(address)
    mapped = getattr(found, "ipv4_mapped", None)
    return any((mapped or found) in network for network in trusted)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _text(fields: Mapping[bytes, bytes], name: bytes) -> str:
    return fields.get(name, b"").decode("latin-1")


def _first(fields: Mapping[bytes, bytes], name: bytes) -> str:
    return _text(fields, name).partition(",")[0].strip()
