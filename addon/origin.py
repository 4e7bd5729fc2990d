"""The origin guard: other sites must not use a browser that can reach the proxy.

Older MLflow servers check `Origin` only under /api/, so a request that is moved to /ajax-api/ would
pass a check it used to fail (https://github.com/mlflow/mlflow/pull/20832). The check is made here
instead, for requests that a rule rewrites. Clients that are no browsers send no `Origin`.
"""

from __future__ import annotations

from collections.abc import Iterable

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
    scheme, _, rest = origin.partition("://")
    theirs, ours = Origin.of(scheme, rest), Origin.of(scheme, authority)
    return theirs is None or ours is None or not theirs.same_place(ours)
