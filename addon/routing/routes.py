"""The meaning of a path under the rules: computed once for each path that is used often.

Clients use a few dozen paths of the API again and again, with other queries and bodies. Everything
that depends only on the path is cached; the paths of artifacts drop out of the cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from ..protocol import target as targets
from ..rules.model import HEALTH_PATHS, Endpoint, Rules
from . import families, gate, operations, rewrite
from .families import Family
from .operations import Concerned

_KEPT = 1024
"""Paths in the cache, at most."""
_LONGEST = 512
"""Characters of a cached path, at most."""


@dataclass(frozen=True, slots=True)
class Route:
    """The meaning of a path."""

    target: targets.Target | None
    """None if the path is under no mount."""
    received: str
    """The path as the client sent it."""
    shown: str
    """The same, safe to show (see `target.shown`)."""
    mount: str = ""
    rule: str | None = None
    """Name of the rewrite rule that changes the path."""
    paths: tuple[str, ...] = ()
    """The path as a server reads it, here and, if a rule has changed it, upstream."""
    api: bool = True
    """Whether errors have to be JSON."""
    family: Family = "other"
    """The purpose of a request for it, if its method does not matter."""
    artifact: bool = False
    """Whether the bodies are artifacts, whatever the method."""
    problem: str | None = None
    """Why the path can be read in more than one way, if so (see `target.ambiguity`)."""
    health: bool = False
    """Whether it is one of the proxy's own paths."""
    bare: bool = False
    """Whether it is a mount without a final slash: relative links on a page would not work."""
    sent: str = ""
    """The path that goes upstream."""
    prefix: str = ""
    """The part between the mount and MLflow's API."""
    endpoints: tuple[Endpoint, ...] = ()
    """The endpoints that make it an artifact request (see `gate.artifact_endpoints`)."""
    suspected: tuple[Endpoint, ...] = ()
    """The endpoints that others might see in it (see `gate.suspected_endpoints`), if artifacts are
    switched off."""
    refused: tuple[Concerned, ...] = ()
    """The entries of `refused` that concern it."""


class Router:
    """Finds routes.

    Args:
        rules: the rules.
        artifacts_off: whether operations on artifacts are refused.
    """

    def __init__(self, rules: Rules, *, artifacts_off: bool) -> None:
        self._rules = rules
        self._artifacts_off = artifacts_off
        self._kept = lru_cache(_KEPT)(self._work_out)
        self.applicable = lru_cache(16)(self._find_applicable)

    def route(self, path: str, applicable: tuple[int, ...], *, again: bool = False) -> Route:
        """Return the route of a path.

        Args:
            path: as received, without the query; bytes that are not UTF-8 as surrogate escapes.
            applicable: the indices of the rewrite rules whose conditions hold.
            again: the request is sent again: its mount is gone, and it has the base path.
        """
        find = self._kept if len(path) <= _LONGEST else self._work_out
        return find(path, applicable, again)

    def _work_out(self, path: str, applicable: tuple[int, ...], again: bool) -> Route:
        rules, base_path = self._rules, self._rules.upstream.base_path
        mounts = (base_path, "") if again and base_path else ("",) if again else None
        target = targets.read(path, mounts or rules.mounts_longest_first)
        shown = targets.shown(path)
        if target is None:
            return Route(None, path, shown)
        sent, rule = rewrite.rewrite(target, [rules.rewrites[i] for i in applicable], base_path)
        # The path as received, as sent if a rule has changed it, and with the base path.
        here = target.path
        there = _decoded(sent[len(base_path) :]) if rule else here
        readings = [*dict.fromkeys((here, there, _decoded(sent) if base_path else there))]
        folded = [*map(targets.fold, readings)]
        problem = targets.ambiguity(target) or next((f.problem for f in folded if f.problem), None)
        if problem is not None:
            api = rules.is_api_path(here)
            return Route(target, path, shown, target.mount, rule, api=api, problem=problem)
        endpoints = gate.artifact_endpoints(readings, rules.artifacts)
        suspected = (
            gate.suspected_endpoints([f.path for f in folded], rules.artifacts)
            if self._artifacts_off
            else []
        )
        paths = tuple(dict.fromkeys(p[targets.api_index(p) :] for p in (here, there)))
        artifact = any(
            endpoint.graphql_field is None and not endpoint.methods for endpoint in endpoints
        )
        return Route(
            target=target,
            received=path,
            shown=shown,
            mount=target.mount,
            rule=rule,
            paths=paths,
            api=any(map(self._is_api, (here, there))),
            family=families.family(paths[-1], artifact=artifact),
            artifact=artifact,
            health=here in HEALTH_PATHS,
            bare=not again and path == (target.mount or None),
            sent=sent,
            prefix=here[: target.api],
            endpoints=tuple(endpoints),
            suspected=tuple(e for e in suspected if e not in endpoints),
            refused=tuple(operations.concerned(readings, [f.path for f in folded], rules.refused)),
        )

    def _is_api(self, path: str) -> bool:
        return self._rules.is_api_below_a_prefix(path, targets.last_root(path))

    def _find_applicable(self, host: str, port: int) -> tuple[int, ...]:
        external = self._rules.upstream.is_external(host, port)
        rules = enumerate(self._rules.rewrites)
        return tuple(index for index, rule in rules if rule.applies_to(host, port, external))


def _decoded(path: str) -> str:
    """Return a path that goes upstream as a server reads it."""
    # A rule may write a query.
    target = targets.read(path.partition("?")[0], ("",))
    return target.path if target else path
