"""X-Forwarded-For, -Proto, -Host, -Port and -Prefix, and Forwarded, from proxies in front.

Only those of a trusted peer are believed. Others are replaced: otherwise each client could choose
its address in the logs of the registry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address

from ..protocol import forwarded_field, hosts
from ..protocol.headers import Fields, Pairs
from ..protocol.hosts import Network
from ..rules.values import is_plain_path

FOR, PROTO, HOST, PORT, PREFIX, FIELD, REAL_IP = (
    b"x-forwarded-for",
    b"x-forwarded-proto",
    b"x-forwarded-host",
    b"x-forwarded-port",
    b"x-forwarded-prefix",
    b"forwarded",
    b"x-real-ip",
)
_FAMILY = b"x-forwarded"
_SENT = {FOR: b"X-Forwarded-For", PROTO: b"X-Forwarded-Proto"}
_SENT |= {HOST: b"X-Forwarded-Host", PREFIX: b"X-Forwarded-Prefix"}
_REPLACED = {*_SENT, PORT, FIELD}

_HOPS = 32
"""Proxies in a row that are read: there are never more, but a client can write thousands."""


@dataclass(frozen=True, slots=True)
class Forwarded:
    """How a request reached the first trusted proxy, or this one."""

    client: str
    """IP address of the client, as far as proxies are trusted."""
    chain: str
    """Addresses from the client to the peer, for X-Forwarded-For."""
    scheme: str
    host: str
    """With the port, if it is not the scheme's default."""
    prefix: str
    """The prefix that proxies in front have removed from the path; no final slash."""
    trusted: bool = False
    """Whether the peer is trusted."""

    def for_upstream(self, headers: Pairs, mount: str) -> Pairs:
        """Return the headers of a request with our values in place of the client's.

        Args:
            headers: as received.
            mount: the prefix that this proxy removes, "" for none.
        """
        values = {FOR: self.chain, PROTO: self.scheme, HOST: self.host, PREFIX: self.prefix + mount}
        told = tuple(
            (_SENT[name], value.encode("utf-8", "surrogateescape"))
            for name, value in values.items()
            if value
        )
        kept = (header for header in headers if not is_claim(header[0], trusted=self.trusted))
        return (*kept, *told)


def is_claim(name: bytes, *, trusted: bool) -> bool:
    """Return whether a header makes a claim that only a proxy in front can make: it is dropped.

    The headers that we replace are always dropped. A trusted peer may send others, such as
    X-Forwarded-User. A name with underscores may still be the client's: WSGI servers read
    X_Forwarded_For as X-Forwarded-For, and a balancer that replaces one passes the other on.
    """
    folded = name.lower().replace(b"_", b"-")
    if folded in _REPLACED:
        return True
    return (folded.startswith(_FAMILY) or folded == REAL_IP) and (not trusted or b"_" in name)


def read(
    fields: Fields,
    *,
    peer: str,
    scheme: str,
    host: str,
    trusted: Sequence[Network],
) -> Forwarded:
    """Read the headers of a request.

    If there is any of X-Forwarded-For, -Proto, -Host and -Port, Forwarded does not count: few
    balancers write it, so beside the others it is likely the client's.

    Args:
        fields: its headers, by lower-case names.
        peer: IP address of the peer of this connection.
        scheme: "http" or "https", of this connection.
        host: the host that the peer asks for.
        trusted: the networks of trusted proxies.
    """
    networks = tuple(trusted)
    if not is_trusted(peer, networks):
        return Forwarded(peer, peer, scheme, host, "")
    if FIELD in fields and fields.keys().isdisjoint((FOR, PROTO, HOST, PORT)):
        hops = forwarded_field.hops(_text(fields, FIELD)) or []
        chain = [hop.get("for", "unknown") for hop in hops]
        client, written = _walk(chain, peer, networks)
        said = hops[len(hops) - written :]
        proto = next((hop["proto"] for hop in said if "proto" in hop), "").lower()
        named = next((hop["host"] for hop in said if "host" in hop), "")
        chain = [forwarded_field.address(node) or "unknown" for node in chain]
    else:
        chain = [part.strip() for part in _text(fields, FOR).split(",") if part.strip()]
        client, _ = _walk(chain, peer, networks)
        proto = _text(fields, PROTO).partition(",")[0].strip().lower()
        named = _text(fields, HOST).strip()
    scheme = proto if proto in hosts.DEFAULT_PORTS else scheme
    # A list of hosts is not valid: we cannot tell which one a proxy has written.
    host = named if hosts.split(named) else host
    prefix = _text(fields, PREFIX).strip().rstrip("/")
    return Forwarded(
        client=client,
        chain=", ".join([*chain, peer]),
        scheme=scheme,
        host=_with_port(host, scheme, _text(fields, PORT).strip()),
        prefix=prefix if is_plain_path(prefix) else "",
        trusted=True,
    )


def _walk(chain: Sequence[str], peer: str, trusted: tuple[Network, ...]) -> tuple[str, int]:
    """Read the chain from the right: a client can write anything left of the first untrusted one.

    Returns:
        The client's address, and how many entries at the end of the chain trusted proxies wrote.
    """
    client, written = peer, 0
    for node in reversed(chain[-_HOPS:]):
        written += 1
        if (address := forwarded_field.address(node)) is None:
            break
        client = address
        if not is_trusted(address, trusted):
            break
    return client, written


def _with_port(host: str, scheme: str, port: str) -> str:
    """Add the port of X-Forwarded-Port to a host without a port."""
    found = hosts.split(host)
    if found is None or found[1] is not None or not (port.isascii() and port.isdigit()):
        return host
    if len(port) > 5 or not 0 < int(port) < 65536 or int(port) == hosts.DEFAULT_PORTS[scheme]:
        return host
    return f"{host}:{port}"


@lru_cache(1024)
def is_trusted(address: str, trusted: tuple[Network, ...]) -> bool:
    """Return whether an IP address is in one of the trusted networks."""
    found = ip_address(address)
    mapped = getattr(found, "ipv4_mapped", None)
    return any((mapped or found) in network for network in trusted)


def _text(fields: Fields, name: bytes) -> str:
    return fields.get(name, b"").decode("utf-8", "surrogateescape")
