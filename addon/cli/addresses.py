"""The addresses on the command line of `run`: where to listen, and the registry's."""

from __future__ import annotations

import argparse
import errno
import ipaddress
import re
import socket
from dataclasses import dataclass

from ..protocol.hosts import uri_host
from ..rules.values import is_plain_path

_HINTS = {
    errno.EADDRINUSE: "another program listens there: stop it, or choose another port",
    errno.EADDRNOTAVAIL: "this machine has no such address",
    errno.EACCES: "this user may not listen there: choose a port from 1024 on",
}


@dataclass(frozen=True, slots=True)
class Upstream:
    """The registry."""

    url: str
    """Without a path."""
    base_path: str
    """The path below which it serves, without a final slash; "" for none."""


# Not anchored at the end, so that a mistake in the path gets a message of its own.
_ORIGIN = re.compile(
    r"(?:https?|http3)://(\[[0-9A-Fa-f:.]+\]|[^\s/?#:\[\]]+)(?::([0-9]{1,5}))?(?=[/?#]|$)"
)
_LABEL = re.compile(r"[A-Za-z0-9_-]{1,63}")


def upstream(text: str) -> Upstream:
    """Read the registry's URL; a path in it is the base path.

    Raises:
        ArgumentTypeError: it is no such URL, or contains credentials or a query; the message does
            not repeat these.
    """
    if "@" in text:
        raise argparse.ArgumentTypeError(
            "expected a URL without user and password: clients send their own, health checks take "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, and upstream.credentials in "
            "the rules adds some for clients that send none"
        )
    shown = text.partition("?")[0]
    origin = _ORIGIN.match(text)
    if origin is None or not _is_host(origin[1]):
        raise argparse.ArgumentTypeError(
            f"{shown!r}: expected a URL such as https://registry.example.org"
        )
    if origin[2] and not 0 < int(origin[2]) < 65536:
        raise argparse.ArgumentTypeError(f"{shown!r}: expected a port from 1 to 65535")
    path = text[origin.end() :].rstrip("/")
    if path and not is_plain_path(path):
        raise argparse.ArgumentTypeError(
            f"{shown!r}: expected no more than a path such as /mlflow after the host"
        )
    return Upstream(origin[0], path)


def _is_host(host: str) -> bool:
    """Return whether mitmproxy takes this for a name or an address."""
    try:
        if host.startswith("["):
            return bool(ipaddress.IPv6Address(host[1:-1]))
        labels = host.encode("idna").decode("ascii").removesuffix(".").split(".")
    except ValueError:
        return False
    return all(map(_LABEL.fullmatch, labels))


def listen(text: str) -> tuple[str, int]:
    """Read HOST:PORT; without a host, all addresses.

    Raises:
        ArgumentTypeError: it is not HOST:PORT.
    """
    match = re.fullmatch(r"(.*):(\d{1,5})", text, re.ASCII)
    if match is None or int(match[2]) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r}: expected HOST:PORT")
    return match[1].removeprefix("[").removesuffix("]"), int(match[2])


def shown(host: str, port: int) -> str:
    """Return an address as it is written in a URL."""
    return f"{uri_host(host)}:{port}"


def problem(host: str, port: int, *, udp: bool = False, option: str = "--listen") -> str | None:
    """Return why the proxy cannot listen at an address; None if it can.

    Args:
        host: a name or an IP address; "" for all.
        port: 0 for any.
        udp: whether mitmproxy needs the port for UDP as well.
        option: the name of the option for the address.
    """
    try:
        # The same arguments as asyncio's.
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, _, _, _, address in found:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)[: 2 if udp else 1]:
                _bind(family, kind, address)
    except OSError as error:
        why = _HINTS.get(error.errno or 0) or error.strerror
        return f"{option}: {shown(host, port)}: {why}"
    return None


def _bind(family: int, kind: int, address: tuple[object, ...]) -> None:
    if family == socket.AF_INET6 and not socket.has_ipv6:
        return
    with socket.socket(family, kind) as tried:
        if kind == socket.SOCK_STREAM:
            # As servers do, so that one can start right after another one on the same port.
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            tried.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        tried.bind(address)
