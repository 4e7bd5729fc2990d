"""Where mitmproxy listens, and the upstream of each listener."""

from __future__ import annotations

import ipaddress
from typing import Any

from mitmproxy import ctx
from mitmproxy.proxy.mode_specs import ReverseMode

from ..routing.rewrite import Origin


def in_reverse_mode() -> list[tuple[ReverseMode, Origin]]:
    """Return each upstream with the address at which this machine reaches its listener."""
    return [
        (server.mode, Origin("http", *_reachable(*server.listen_addrs[0][:2])))
        for server in getattr(_proxyserver(), "servers", ())
        if isinstance(server.mode, ReverseMode)
        and "http" in server.mode.scheme
        and server.listen_addrs
    ]


def beyond_this_machine() -> list[str]:
    """Return the listening addresses that other machines can reach."""
    proxyserver = _proxyserver()
    addresses = proxyserver.listen_addrs() if proxyserver else ()
    return sorted({address[0] for address in addresses if not _is_loopback(address[0])})


def _proxyserver() -> Any | None:
    """Return mitmproxy's addon that listens; a bare test context has none."""
    return ctx.master.addons.get("proxyserver")


def _reachable(host: str, port: int) -> tuple[str, int]:
    if ipaddress.ip_address(host).is_unspecified:
        host = "::1" if ":" in host else "127.0.0.1"
    return host, port


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
