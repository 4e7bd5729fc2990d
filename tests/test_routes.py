"""What a path means, kept or not."""

import dataclasses

import pytest

from addon import rules_file
from addon.routes import Router

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
@pytest.mark.parametrize("wary", [True, False])
def test_kept_or_worked_out(path: str, wary: bool) -> None:
    """The second answer is the first one, and a router that has kept nothing gives it, too."""
    router, fresh = Router(SHIPPED, wary=wary), Router(SHIPPED, wary=wary)
    for _ in range(2):
        assert router.route(path, external(router)) == fresh._work_out(path, external(fresh), False)
    assert router._kept.cache_info().hits == 1


def test_what_else_it_depends_on() -> None:
    """The same path is another route for another upstream, and when it is sent again."""
    rules = rules_file.parse(
        "mounts: [/mlflow]\nupstream: {external_hosts: [registry.hokus.ai]}\n"
        "rewrites: [{name: r, match: ^/api/, replace: /ajax-api/, upstream: external}]",
        "rules.yaml",
    )
    router = Router(rules, wary=False)
    path = "/mlflow/api/2.0/mlflow/runs/get"
    assert router.route(path, external(router)).sent == "/ajax-api/2.0/mlflow/runs/get"
    internal = router.applicable("internal.example", 80)
    assert router.route(path, internal).sent == "/api/2.0/mlflow/runs/get"
    assert router.route(path, internal, again=True).sent == path
    assert router.route("/api/2.0/mlflow", internal).target is None
    assert router.route("/api/2.0/mlflow", internal, again=True).target is not None


def test_memory_is_bounded() -> None:
    """Long paths are not kept, and of short ones only so many."""
    router = Router(SHIPPED, wary=True)
    router.route("/" + "x" * 1000, ())
    assert router._kept.cache_info().currsize == 0
    for number in range(3000):
        router.route(f"/api/2.0/mlflow-artifacts/artifacts/{number}", ())
    assert router._kept.cache_info().currsize == 1024


def test_routes_cannot_change() -> None:
    """Many flows share one."""
    router = Router(SHIPPED, wary=False)
    with pytest.raises(dataclasses.FrozenInstanceError):
        router.route("/x", ()).sent = "/y"  # type: ignore[misc]
