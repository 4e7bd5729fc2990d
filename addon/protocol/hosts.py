"""The host guard: the names and addresses that clients may use for the proxy.

In reverse mode mitmproxy replaces Host, which disables MLflow's own check against DNS rebinding: a
web page whose name suddenly resolves to the proxy's address could then use the registry through a
browser behind the same firewall.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network

DEFAULT_PORTS = {"http": 80, "https": 443}

_PORT = r"(?::(?P<port>\d{1,5}))?"
_AUTHORITY = re.compile(rf"(?:(?P<name>[A-Za-z0-9_.-]+)|\[(?P<v6>[0-9A-Fa-f:.]+)\]){_PORT}")
# An IPv6 address needs brackets only in front of a port; the port "*" means any.
_PATTERN = re.compile(
    r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<name>[^:\[\]]+))(?::(?P<port>\d{1,5}|\*))?"
    r"|(?P<bare>[^\[\]]*:[^\[\]]*:[^\[\]]*)"
)
_LABELS = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?")
# Browsers read such a host as an IPv4 address (https://url.spec.whatwg.org/#ends-in-a-number-checker).
_NUMBER_AT_END = re.compile(r"(?:.*\.)?(?:\d+|0x[0-9a-f]*)")
_OLD_NETWORK = re.compile(r"((?:\d{1,3}\.){1,3})\*(?:\.\*)*")


@dataclass(frozen=True, slots=True)
class HostPattern:
    """An entry of `allowed_hosts`: the hosts that it allows. Made by `pattern`."""

    text: str
    """The entry as it is written in the rules."""
    name: str
    """A whole name; ".example.org" for all names below it; "" for any host."""
    network: Network | None
    """Addresses, in place of a name; None if there is none."""
    port: int | None
    """None for all ports."""

    def __str__(self) -> str:
        return self.text

    def covers(self, host: str, address: Network | None, port: int) -> bool:
        """Return whether it allows a host (lower-case, or an address) and a port."""
        if self.port not in (None, port):
            return False
        if self.network is not None:
            return (
                address is not None
                and address.version == self.network.version
                and address.network_address in self.network
            )
        if address is not None or not self.name:
            return not self.name
        return host == self.name or (self.name[0] == "." and host.endswith(self.name))


def pattern(text: str) -> HostPattern:
    """Read an entry of `allowed_hosts`.

    A star only stands for whole labels in front of a name: "10.0.*" as text would allow the name
    10.0.attacker.example.

    Raises:
        ValueError: the message says what is expected in its place.
    """
    match = _PATTERN.fullmatch(text.lower())
    if match is None:
        raise ValueError(
            "expected a host name, an IP address or a network, with or without a port, such as "
            "mlflow.example.org:8080, *.example.org, 10.0.0.0/8 or [::1]:8080"
        )
    port = None if match["port"] in (None, "*") else int(match["port"])
    if port is not None and not 0 < port < 65536:
        raise ValueError("expected a port from 1 to 65535")
    host = match["name"] or match["v6"] or match["bare"]
    if host == "*":
        return HostPattern(text, "", None, port)
    if "/" in host or ":" in host or _NUMBER_AT_END.fullmatch(host):
        return HostPattern(text, "", _network(host), port)
    name = host.removeprefix("*").rstrip(".")
    if "*" in name or not _LABELS.fullmatch(name.removeprefix(".")):
        raise ValueError(_instead(host))
    if host[0] == "*" and name[0] != ".":
        raise ValueError(_instead(host))
    return HostPattern(text, name, None, port)


def uri_host(host: str) -> str:
    """Return a host as it is written in a URL: IPv6 in brackets (RFC 3986, section 3.2.2)."""
    return f"[{host}]" if ":" in host else host


def in_brackets(authority: str, address: str) -> str:
    """Return an authority with its IPv6 address in brackets, as in a URL.

    mitmproxy writes a Host for an upstream at ::1 as "::1:5000".

    Args:
        authority: host, perhaps with a port.
        address: the IPv6 address.
    """
    rest = authority.removeprefix(address)
    return authority if rest == authority else f"[{address}]{rest}"


def is_allowed(authority: str, allowed: Iterable[HostPattern]) -> bool:
    """Return whether a request may use this name for the proxy.

    Args:
        authority: the Host header or :authority, with or without a port; "" if there is none.
        allowed: `allowed_hosts`.
    """
    if (found := split(authority.strip())) is None:
        return False
    host, port = found
    address, port = _address(host), port or 80
    return any(entry.covers(host, address, port) for entry in allowed)


def split(authority: str) -> tuple[str, int | None] | None:
    """Return the host (lower-case, IPv6 without brackets) and the port of an authority.

    Stricter than in a URL (RFC 3986, section 3.2): no userinfo, no escapes. Otherwise None.
    """
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        return None
    port = int(match["port"]) if match["port"] else None
    if port is not None and not 0 < port < 65536:
        return None
    if match["v6"]:
        return None if _address(match["v6"]) is None else (match["v6"].lower(), port)
    name = match["name"].lower().rstrip(".")
    return (name, port) if name else None


def is_fixed(host: str) -> bool:
    """Return whether a host (lower-case, without brackets) always leads to the same place.

    An address does; a localhost is this machine (RFC 6761, section 6.3).
    """
    return _address(host) is not None or host == "localhost" or host.endswith(".localhost")


def _address(host: str) -> Network | None:
    """Return an address as a network of one address; None for a name."""
    try:
        address = ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return ip_network(mapped or address)


def _network(host: str) -> Network:
    try:
        return ip_network(host)
    except ValueError as error:
        if "*" in host:
            raise ValueError(_instead(host)) from None
        raise ValueError(
            f"expected an IP address or a network such as 10.0.0.0/8: {error}"
        ) from None


def _instead(host: str) -> str:
    if "*" not in host:
        return "expected a host name such as mlflow.example.org"
    if match := _OLD_NETWORK.fullmatch(host):
        octets = match[1].rstrip(".").split(".")
        network = ".".join([*octets, *["0"] * (4 - len(octets))])
        return f"expected a network instead: {network}/{8 * len(octets)}"
    if ":" in host or _NUMBER_AT_END.fullmatch(host):
        return "expected a network instead, such as 10.0.0.0/8 or fd00::/8"
    return (
        "expected * for whole labels in front of a name, such as *.example.org; write other "
        "names one by one"
    )
