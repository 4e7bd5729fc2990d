"""X-Forwarded-For, -Proto, -Host, -Port and -Prefix, and Forwarded: what proxies in front say.

Only what a trusted peer says is believed, and anybody's else is replaced: else each client could
choose the address that stands in the logs of the registry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address

from ..protocol import forwarded_field, hosts
from ..rules.values import is_plain_path

Network = IPv4Network | IPv6Network
Header = tuple[bytes, bytes]

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
"""So many proxies in a row are looked at: more there are not, and a client can write thousands."""
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Forwarded:
    """How a request reached the first proxy that is trusted, or this one."""

    client: str
    """IP address of the client, as far as proxies are trusted."""
    chain: str
    """Addresses from the client to the peer, for X-Forwarded-For."""
    scheme: str
    host: str
    """With a port, if it is not the scheme's own."""
    prefix: str
    """Path that proxies have taken away from the front; no final slash."""
    trusted: bool = False
    """Whether the peer is."""

    def for_upstream(self, headers: tuple[Header, ...], mount: str) -> tuple[Header, ...]:
        """The headers of a request with what the upstream is told in place of what they claim.

        Args:
            headers: as received.
            mount: the path that this proxy takes away, "" for none.
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
    """Tell whether a header says what only a proxy in front can know, and must not go upstream.

    What is put in its place never does. A trusted peer may say more, such as X-Forwarded-User.
    With underscores it may still be the client's: WSGI servers read X_Forwarded_For as
    X-Forwarded-For, and a balancer that replaces the one passes the other on.
    """
    folded = name.lower().replace(b"_", b"-")
    if folded in _REPLACED:
        return True
    return (folded.startswith(_FAMILY) or folded == REAL_IP) and (not trusted or b"_" in name)


def read(
    fields: Mapping[bytes, bytes],
    *,
    peer: str,
    scheme: str,
    host: str,
    trusted: Sequence[Network],
) -> Forwarded:
    """Read the headers of a request.

    Where there is any of X-Forwarded-For, -Proto, -Host and -Port, Forwarded does not count: few
    balancers write it, so beside the others it is likely to be the client's.

    Args:
        fields: its headers, by lower-case names.
        peer: IP address of whoever has connected.
        scheme: "http" or "https", as the peer has connected.
        host: that it has asked for.
        trusted: the networks of proxies whose word counts.
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
    scheme = proto if proto in _DEFAULT_PORTS else scheme
    # In a list of hosts nobody can tell which one a proxy has written.
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
    """From the right: what stands left of the first address that is not trusted, anybody can write.

    Returns:
        The client's address, and how many entries at the end of the chain are by trusted proxies.
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
    """Add what X-Forwarded-Port says to a host that names no port by itself."""
    found = hosts.split(host)
    if found is None or found[1] is not None or not (port.isascii() and port.isdigit()):
        return host
    if len(port) > 5 or not 0 < int(port) < 65536 or int(port) == _DEFAULT_PORTS[scheme]:
        return host
    return f"{host}:{port}"


@lru_cache(1024)
def is_trusted(address: str, trusted: tuple[Network, ...]) -> bool:
    """Tell whether an IP address is in one of some networks."""
    found = ip_address(address)
    mapped = getattr(found, "ipv4_mapped", None)
    return any((mapped or found) in network for network in trusted)


def _text(fields: Mapping[bytes, bytes], name: bytes) -> str:
    return fields.get(name, b"").decode("utf-8", "surrogateescape")
