"""The host guard: names under which the proxy may be addressed.

In reverse mode mitmproxy replaces Host, and so switches off MLflow's own check against DNS
rebinding: a web page whose name suddenly leads to the proxy's address would be let in, with all
that a browser behind the same firewall can reach.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from .rewrite import Origin
from .rule_types import uri_host


def is_allowed(authority: str, allowed: Iterable[str]) -> bool:
    """Tell whether a request may name the proxy so.

    Args:
        authority: the Host header or :authority, with or without a port; "" if there is none.
        allowed: lower-case host names, "host" for all ports or "host:port", in which * stands for
            any characters.
    """
    origin = Origin.of("http", authority.strip())
    if origin is None:
        return False
    host = uri_host(origin.host.rstrip("."))
    forms = (host, f"{host}:{origin.port}")
    # An address in brackets is no set of characters.
    patterns = (pattern.replace("[", "[[]") for pattern in allowed)
    return any(fnmatchcase(form, pattern) for pattern in patterns for form in forms)
