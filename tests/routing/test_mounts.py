"""Mounts with an upstream of their own: which requests they get, and by which settings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.hostile import climbing, targets

from addon.protocol import target
from addon.routing import settings
from addon.routing.settings import Settings
from addon.rules.rules_file import DEFAULT_PATH, RulesError

ARTIFACTS = re.compile("/(ajax-)?api/[^/]+/mlflow-artifacts(/|$)")
ALL = {"read", "write", "delete"}


def read(folder: Path, *mounts: Any, environment: str | None = None, **sections: Any) -> Settings:
    """Return the settings from the shipped rules with other mounts and changed sections."""
    rules = yaml.safe_load(DEFAULT_PATH.read_text())
    rules["mounts"] = [*mounts]
    for section, values in sections.items():
        rules[section].update(values)
    path = folder / "rules.yaml"
    path.write_text(yaml.safe_dump(rules))
    return settings.read(path, environment, "")


def own(path: str, url: str = "https://a.example/ml", **more: Any) -> dict[str, Any]:
    return {"path": path, "upstream": url, **more}


def mount_of(found: Settings, path: str) -> str:
    """Return the mount whose registry gets a path, "" for that of the command line."""
    assert found.own is not None
    covering = found.own.covering(path)
    return covering.mount.path if covering and covering.mount else ""


@pytest.mark.parametrize(
    ("path", "mount"),
    [
        ("/team-a", "/team-a"),
        ("/team-a/", "/team-a"),
        ("/team-a/api/2.0/x", "/team-a"),
        ("/team-a//x", "/team-a"),
        ("/team-a/../x", "/team-a"),
        ("/team-a/%2e%2e/x", "/team-a"),
        ("/team-a%2Fx", "/team-a"),
        ("/%74eam-a/x", "/team-a"),
        ("//team-a/x", "/team-a"),
        ("/%2Fteam-a/x", "/team-a"),
        ("/team-a/team-b/x", "/team-a"),
        # A mount below another one.
        ("/team-a/old/x", "/team-a/old"),
        ("/team-a%2fold", "/team-a/old"),
        ("/team-a/older", "/team-a"),
        ("/team-a/local/x", ""),
        ("/team-a/locals", "/team-a"),
        # None of these is that path for a server.
        ("/", ""),
        ("", ""),
        ("*", ""),
        ("/team-ab/x", ""),
        ("/Team-a/x", ""),
        ("/team-a;x/y", ""),
        ("/team-a%00/x", ""),
        ("/x/../team-a/x", ""),
        ("/./team-a/x", ""),
        ("/%252fteam-a/x", ""),
        ("/team-a%5Cx", ""),
        ("\\team-a/x", ""),
    ],
)
def test_covering(tmp_path: Path, path: str, mount: str) -> None:
    """The longest mount that covers the path, as a server decodes it once."""
    found = read(tmp_path, "/", own("/team-a"), own("/team-a/old"), "/team-a/local")
    for _ in range(2):
        assert mount_of(found, path) == mount


def test_long_paths(tmp_path: Path) -> None:
    """They have the same mount; they are only not kept in memory."""
    found = read(tmp_path, "/", own("/team-a"))
    assert mount_of(found, "/team-a/" + "x" * 2000) == "/team-a"
    assert mount_of(found, "/" + "x" * 2000) == ""


def test_rules_without_registries_of_mounts(tmp_path: Path) -> None:
    """Rules without such a mount need no step for it."""
    assert read(tmp_path, "/", "/mlflow").own is None


@pytest.mark.parametrize(
    ("dialect", "listed", "sent"),
    [
        ("auto", [], "/ml/api/2.0/mlflow/x"),
        ("auto", ["a.example"], "/ml/ajax-api/2.0/mlflow/x"),
        ("ajax", [], "/ml/ajax-api/2.0/mlflow/x"),
        ("standard", ["a.example"], "/ml/api/2.0/mlflow/x"),
    ],
)
def test_dialects(tmp_path: Path, dialect: str, listed: list[str], sent: str) -> None:
    """The dialect and the base path are those of the mount, not of `upstream`."""
    upstream = {"base_path": "/other", "dialect": "ajax", "external_hosts": listed}
    found = read(tmp_path, "/", own("/team-a", dialect=dialect), upstream=upstream).own
    assert found is not None
    (of_mount,) = found
    router = of_mount.router
    route = router.route("/team-a/api/2.0/mlflow/x", router.applicable("a.example", 443))
    assert (route.mount, route.sent) == ("/team-a", sent)


def test_a_base_path_that_was_detected(tmp_path: Path) -> None:
    """A base path that was found out is no further mount: those are of the command line."""
    found = read(tmp_path, "/", own("/team-a", "https://a.example")).own
    assert found is not None
    (before,) = found
    after = settings.adapted(before, ("a.example", 443), is_ajax=True, base_path="/deep")
    router, applicable = after.router, after.router.applicable("a.example", 443)
    assert (
        router.route("/team-a/api/2.0/mlflow/x", applicable).sent == "/deep/ajax-api/2.0/mlflow/x"
    )
    assert router.route("/deep/api/2.0/mlflow/x", applicable).target is None
    assert after.mount == before.mount


def test_a_base_path_by_option(tmp_path: Path) -> None:
    """The base path of the command line is a mount, but takes nothing from a mount of the rules."""
    path = tmp_path / "rules.yaml"
    path.write_text("mounts: [/, {path: /ml, upstream: http://a}]")
    found = settings.read(path, None, "", "/ml/deep")
    assert found.rules.mounts_longest_first == ("/ml/deep", "")
    assert mount_of(found, "/ml/deep/x") == "/ml"
    assert settings.read(path, None, "", "/ml").rules.mounts_longest_first == ("",)


OFF = {"enabled": False}


@pytest.mark.parametrize(
    ("mount", "whole", "environment", "here", "there", "why"),
    [
        ({}, {}, None, ALL, ALL, None),
        (OFF, {}, None, ALL, set(), "mounts[1].artifacts.enabled"),
        ({"write": False}, {}, None, ALL, {"read"}, "mounts[1].artifacts.write"),
        ({"delete": False}, {}, None, ALL, {"read", "write"}, "mounts[1].artifacts.delete"),
        # What is refused everywhere is refused there, whatever the mount says.
        ({"enabled": True}, OFF, None, set(), set(), "artifacts.enabled"),
        ({"write": True}, {"write": False}, None, {"read"}, {"read"}, "artifacts.write"),
        ({"read": False}, {"write": False}, None, {"read"}, set(), "artifacts.write"),
        ({"enabled": True}, {}, "false", set(), set(), "MLFLOW_SERVE_ARTIFACTS"),
        (OFF, {}, "false", set(), set(), "MLFLOW_SERVE_ARTIFACTS"),
        # Nothing that switches artifacts on is for a mount that has them off.
        (OFF, OFF, "true", ALL, set(), "mounts[1].artifacts.enabled"),
    ],
)
def test_switches(
    tmp_path: Path,
    mount: dict[str, bool],
    whole: dict[str, bool],
    environment: str | None,
    here: set[str],
    there: set[str],
    why: str | None,
) -> None:
    """A mount refuses what the whole proxy refuses, and more if it says so."""
    mounts = ("/", own("/team-a", artifacts=mount))
    found = read(tmp_path, *mounts, environment=environment, artifacts=whole)
    assert found.own is not None
    (of_mount,) = found.own
    assert ({*found.allowed}, {*of_mount.allowed}) == (here, there)
    assert (found.wary, of_mount.wary) == (here != ALL, there != ALL)
    assert found.off_somewhere() == why or why in of_mount.off.values()
    assert (found.off_somewhere() is None) is (why is None)


def test_a_switch_without_endpoints(tmp_path: Path) -> None:
    """The switch of a mount, too, needs the list of what it refuses."""
    with pytest.raises(RulesError, match=r"because mounts\[1\]\.artifacts\.read is switched off"):
        read(tmp_path, "/", own("/a", artifacts={"read": False}), artifacts={"endpoints": []})


def passes(found: Settings, method: str, path: str) -> bool:
    """Return whether a path may reach a registry: it is neither an artifact's nor refused."""
    route = found.router.route(path.partition("?")[0], ())
    readable = route.target is not None and not route.problem
    return readable and not (found.wary and (route.endpoints or route.suspected))


@pytest.mark.parametrize("number", range(3))
def test_hostile_targets(tmp_path: Path, number: int) -> None:
    """No spelling of an artifact below a mount reaches its registry, nor one outside another's.

    The mount's registry is only asked for what its own rules let pass, below its base path.
    """
    found = read(tmp_path, "/", own("/team-a", artifacts=OFF), own("/team-b"))
    assert found.own is not None
    asked = [
        *((m, "/team-a" + p) for m, p in targets(number, 1500)),
        *targets(number, 1500, "/team-a"),
        *((m, "/team-a" + p) for m, p in climbing(number, 1500, "ml")),
        *((m, "/team-b" + p) for m, p in climbing(number, 1500, "team-a")),
    ]
    reached = 0
    for method, path in asked:
        below = path.partition("?")[0]
        covering = found.own.covering(below)
        if covering is None or not passes(covering, method, path):
            continue
        reached += 1
        route = covering.router.route(below, ())
        assert covering.mount is not None
        assert route.mount == covering.mount.path
        assert target.fold(route.sent).path.startswith("/ml"), path
        assert not target.fold(route.sent).problem
        if route.mount == "/team-a":
            assert not ARTIFACTS.search(target.fold(route.sent).path.lower()), path
    assert reached > 100
