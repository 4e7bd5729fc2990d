"""The meaning of a path, cached or not."""

import dataclasses

import pytest

from addon.routing.routes import Router
from addon.rules import rules_file

SHIPPED = rules_file.load(rules_file.DEFAULT_PATH)
PATHS = [
    "/api/2.0/mlflow/runs/get",
    "/mlflow/api/2.0/mlflow/runs/get",
    "/api/2.0/mlflow-artifacts/artifacts/a%20b",
    "//%61pi/2.0/mlflow",
    "/elsewhere",
    "/graphql",
]


def external(router: Router) -> tuple[int, ...]:
    return router.applicable("registry.hokus.ai", 443)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("off", [True, False])
def test_cached_routes(path: str, off: bool) -> None:
    """A cached route equals a newly computed one."""
    router, fresh = Router(SHIPPED, artifacts_off=off), Router(SHIPPED, artifacts_off=off)
    for _ in range(2):
        assert router.route(path, external(router)) == fresh._work_out(path, external(fresh), False)
    assert router._kept.cache_info().hits == 1


def test_other_inputs_of_a_route() -> None:
    """The route also depends on the upstream and on whether the request is sent again."""
    rules = rules_file.parse(
        "mounts: [/mlflow]\nupstream: {external_hosts: [registry.hokus.ai]}\n"
        "rewrites: [{name: r, match: ^/api/, replace: /ajax-api/, upstream: external}]",
        "rules.yaml",
    )
    router = Router(rules, artifacts_off=False)
    path = "/mlflow/api/2.0/mlflow/runs/get"
    assert router.route(path, external(router)).sent == "/ajax-api/2.0/mlflow/runs/get"
    internal = router.applicable("internal.example", 80)
    assert router.route(path, internal).sent == "/api/2.0/mlflow/runs/get"
    assert router.route(path, internal, again=True).sent == path
    assert router.route("/api/2.0/mlflow", internal).target is None
    assert router.route("/api/2.0/mlflow", internal, again=True).target is not None


def test_memory_is_bounded() -> None:
    """Long paths are not cached, and the number of short ones is limited."""
    router = Router(SHIPPED, artifacts_off=True)
    router.route("/" + "x" * 1000, ())
    assert router._kept.cache_info().currsize == 0
    for number in range(3000):
        router.route(f"/api/2.0/mlflow-artifacts/artifacts/{number}", ())
    assert router._kept.cache_info().currsize == 1024


def test_routes_cannot_change() -> None:
    """Routes are immutable, as many flows share one."""
    router = Router(SHIPPED, artifacts_off=False)
    with pytest.raises(dataclasses.FrozenInstanceError):
        router.route("/x", ()).sent = "/y"  # type: ignore[misc]


BASE = "mounts: [/, /mlflow]\nupstream: {base_path: /mlops/mlflow, dialect: standard}\n"
ENDPOINTS = (
    "artifacts:\n  enabled: false\n  endpoints: [{path: /get-artifact}, {path: /api/2/x(/.*)?}]\n"
)


@pytest.mark.parametrize(
    ("more", "path", "found"),
    [
        ("", "/get-artifact", "refused"),
        ("", "/mlflow/team-a/get-artifact", "refused"),
        # A path that leaves the base path and enters it again.
        ("", "/../mlflow/get-artifact", "problem"),
        ("", "/%2e%2e/mlflow/get-artifact", "problem"),
        ("", "/..%2Fmlflow/get-artifact", "problem"),
        ("", "/x/../../mlflow/get-artifact", "problem"),
        ("", "/mlflow/../get-artifact", "problem"),
        ("", "/x/../get-artifact", "refused"),
        ("", "/static-files/../get-artifact", "suspected"),
        ("", "/static-files/..%2Fget-artifact", "suspected"),
        ("", "/x/../y", ""),
        # A rule may add or remove a prefix.
        (
            "rewrites: [{name: r, match: ^/f/, replace: /a/b/}]\n",
            "/f/../../get-artifact",
            "problem",
        ),
        ("rewrites: [{name: r, match: ^/f/, replace: /a/b/}]\n", "/f/x/../y", ""),
        ("rewrites: [{name: r, match: ^/f/g/, replace: /}]\n", "/f/g/../x", "problem"),
        ("rewrites: [{name: r, match: ^/f/, replace: /api/}]\n", "/f/2/x", "refused"),
        ("rewrites: [{name: r, match: ^/f/, replace: /a/b/}]\n", "/f/../../f/x", "problem"),
    ],
)
def test_the_final_path_is_judged(more: str, path: str, found: str) -> None:
    """A base path, a mount and a rule move a path; it is judged as it goes upstream."""
    router = Router(rules_file.parse(BASE + ENDPOINTS + more, "rules.yaml"), artifacts_off=True)
    route = router.route(path, (0,) if more else ())
    assert bool(route.problem) is (found == "problem")
    assert bool(route.endpoints) is (found == "refused")
    assert bool(route.suspected) is (found == "suspected")


def test_a_base_path_that_ends_within_the_api() -> None:
    """Base path and path together make an artifact's path."""
    text = ENDPOINTS + "upstream: {base_path: /api/2}\n"
    router = Router(rules_file.parse(text, "rules.yaml"), artifacts_off=True)
    assert router.route("/x/y", ()).endpoints
    assert router.route("/y/../x/y", ()).suspected


@pytest.mark.parametrize(
    ("path", "below", "family", "api"),
    [
        ("/team-a/api/2.0/mlflow/runs/get", "/ajax-api/2.0/mlflow/runs/get", "tracking", True),
        ("/team-a/graphql", "/team-a/graphql", "other", True),
        ("/team-a/get-artifact", "/team-a/get-artifact", "artifacts", True),
        ("/team-a/static-files/api/x.js", "/team-a/static-files/api/x.js", "other", False),
        ("/team-a/", "/team-a/", "other", False),
    ],
)
def test_below_a_prefix(path: str, below: str, family: str, api: bool) -> None:
    """The family of a path does not depend on a prefix in front of the API."""
    router = Router(SHIPPED, artifacts_off=False)
    decided = router.route(path, external(router))
    assert decided.paths[-1] == below
    assert (decided.family, decided.api) == (family, api)
