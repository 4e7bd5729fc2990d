"""The origin guard: other sites must not reach the proxy through a user's browser.

Older MLflow servers check `Origin` only under /api/, so a request that is moved to /ajax-api/ would
pass a check that it should fail (https://github.com/mlflow/mlflow/pull/20832). So the check is made
here, for requests that a rule rewrites. Clients other than browsers send no `Origin`.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..protocol import hosts
from .rewrite import Origin

# RFC 9110, section 9.2.1; browsers send OPTIONS to ask for permission before other methods.
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def is_foreign(method: str, origin: str | None, authority: str, allowed: Iterable[str]) -> bool:
    """Return whether a request changes something on behalf of another site.

    Args:
        method: HTTP method.
        origin: the Origin header (RFC 6454, section 7), None if there is none.
        authority: the Host of the request. Its scheme is not compared, because TLS may end in
            front of the proxy.
        allowed: further origins, "https://lab.example.org", or "*" for all.
    """
    if origin is None or method in SAFE_METHODS or "*" in allowed or origin in allowed:
        return False
    return not is_own(origin, authority)


def is_own(origin: str, authority: str) -> bool:
    """Return whether a page is from the proxy itself: from the host that its request asks for.

    Args:
        origin: the Origin header.
        authority: as for `is_foreign`.
    """
    scheme, _, rest = origin.partition("://")
    theirs, ours = Origin.of(scheme, rest), Origin.of(scheme, authority)
    return theirs is not None and ours is not None and theirs.same_place(ours)


def is_dropped(origin: str, authority: str, *, checked: bool) -> bool:
    """Return whether an Origin is the proxy's own, so that the upstream must not see it.

    The upstream gets requests under its own name, so a page under the proxy's name looks foreign.
    MLflow's check (mlflow/server/security_utils.py) compares Origin with a list that may contain
    the proxy's name, the upstream's, or neither. A request without Origin passes in all three
    cases; one with the upstream's name does not. A Referer stays as it is, because MLflow does not
    read it.

    With DNS rebinding an attacker's page looks like an own page, too, and then only the upstream's
    check is left. So Origin is dropped only if the host guard or TLS has proved the name, or if the
    host is an address or localhost.

    Args:
        origin: the Origin header.
        authority: as for `is_foreign`.
        checked: whether the host guard has accepted the authority.
    """
    if not is_own(origin, authority):
        return False
    if checked or origin.startswith("https:"):
        return True
    found = hosts.split(authority)
    return found is not None and hosts.is_fixed(found[0])
