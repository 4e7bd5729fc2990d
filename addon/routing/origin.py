"""The origin guard: other sites must not use a browser that can reach the proxy.

Older MLflow servers check `Origin` only under /api/, so a request that is moved to /ajax-api/ would
pass a check it used to fail (https://github.com/mlflow/mlflow/pull/20832). The check is made here
instead, for requests that a rule rewrites. Clients that are no browsers send no `Origin`.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..protocol import hosts
from .rewrite import Origin

# RFC 9110, section 9.2.1; browsers ask for permission with OPTIONS before they send the rest.
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def is_foreign(method: str, origin: str | None, authority: str, allowed: Iterable[str]) -> bool:
    """Tell whether a request changes something on behalf of another site.

    Args:
        method: HTTP method.
        origin: the Origin header (RFC 6454, section 7), None if there is none.
        authority: the Host the client asked for. Its scheme is not compared, because TLS may end
            in front of the proxy.
        allowed: further origins, "https://lab.example.org", or "*" for all.
    """
    if origin is None or method in SAFE_METHODS or "*" in allowed or origin in allowed:
        return False
    return not is_own(origin, authority)


def is_own(origin: str, authority: str) -> bool:
    """Tell whether a page is of the proxy's own: of the host that its request asks for.

    Args:
        origin: the Origin header.
        authority: as for `is_foreign`.
    """
    scheme, _, rest = origin.partition("://")
    theirs, ours = Origin.of(scheme, rest), Origin.of(scheme, authority)
    return theirs is not None and ours is not None and theirs.same_place(ours)


def is_dropped(origin: str, authority: str, *, checked: bool) -> bool:
    """Tell whether the upstream must not see an Origin, because it is the proxy's own.

    The upstream is asked under its own name, so a page under the proxy's looks foreign. MLflow's
    check (mlflow/server/security_utils.py) compares Origin with a list, in which the proxy's name
    may stand, the upstream's, or neither. A request without Origin passes in all three cases; one
    with the upstream's name does not. A Referer stays as it is, because MLflow does not read it.

    With DNS rebinding an attacker's page is an own page, too, and then the upstream's check is the
    last one. So the name has to be checked here or proved by TLS, or it has to be none.

    Args:
        origin: the Origin header.
        authority: as for `is_foreign`.
        checked: whether the host guard has let the authority pass.
    """
    if not is_own(origin, authority):
        return False
    if checked or origin.startswith("https:"):
        return True
    found = hosts.split(authority)
    return found is not None and hosts.is_fixed(found[0])
