"""The settings in force: the rules, and the artifact switch over them."""

from pathlib import Path

import pytest

from addon.routing import settings
from addon.rules.rules_file import RulesError

SOME = "artifacts: {endpoints: [{path: /x}]"


@pytest.mark.parametrize(
    ("text", "environment", "option", "why"),
    [
        ("artifacts: {enabled: false}", None, "", "artifacts.enabled switches artifacts off"),
        ("artifacts: {write: false}", None, "", "artifacts.write is switched off"),
        ("mounts: [/]", "false", "", "MLFLOW_SERVE_ARTIFACTS switches artifacts off"),
        ("mounts: [/]", "true", "no", "mlflow_serve_artifacts switches artifacts off"),
    ],
)
def test_a_switch_without_endpoints(
    tmp_path: Path, text: str, environment: str | None, option: str, why: str
) -> None:
    """A switch without endpoints is an error: requests would pass silently."""
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    with pytest.raises(RulesError) as error:
        settings.read(path, environment, option)
    assert str(error.value) == (
        f"{path}: artifacts.endpoints: []: expected the requests to refuse, because {why}; "
        "the shipped rules.yaml lists those of MLflow"
    )


@pytest.mark.parametrize(
    ("text", "wary", "suspects"),
    [
        ("mounts: [/]", False, False),
        (SOME + "}", False, False),
        (SOME + ", enabled: false}", True, True),
        (SOME + ", delete: false}", True, True),
        (SOME + "}\nrefused: [{name: x, path: /x}]", True, False),
    ],
)
def test_wary(tmp_path: Path, text: str, wary: bool, suspects: bool) -> None:
    """The settings are wary if something is refused; artifact paths are suspected if those are."""
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    found = settings.read(path, None, "")
    assert found.wary is wary
    assert bool(found.router.route("/X", ()).suspected) is suspects


@pytest.mark.parametrize("option", ["/mlops/mlflow", "/mlops/mlflow/"])
def test_a_base_path_by_option(tmp_path: Path, option: str) -> None:
    """It overrides the rules, and clients may use it or leave it out."""
    path = tmp_path / "rules.yaml"
    path.write_text("upstream: {base_path: /other}\nmounts: [/, /m]")
    rules = settings.read(path, None, "", option).rules
    assert rules.upstream.base_path == "/mlops/mlflow"
    assert rules.mounts_longest_first == ("/mlops/mlflow", "/m", "")


@pytest.mark.parametrize("option", ["mlflow", "/a/../b", "//a", "/a?b", "/%2e"])
def test_no_base_path(tmp_path: Path, option: str) -> None:
    """The message has the option and its value."""
    path = tmp_path / "rules.yaml"
    path.write_text("mounts: [/]")
    with pytest.raises(RulesError) as error:
        settings.read(path, None, "", option)
    assert str(error.value) == f"mlflow_base_path: {option!r}: expected a path such as /mlflow"


def test_filters(tmp_path: Path) -> None:
    """The filters are compiled once, each under the number of its rule."""
    path = tmp_path / "rules.yaml"
    path.write_text(
        "rewrites: [{name: a, match: ^/a, replace: /b},"
        ' {name: c, match: ^/c, replace: /d, filter: "~m PUT"}]'
    )
    assert [*settings.read(path, None, "").filters] == [1]


@pytest.mark.parametrize(
    ("text", "is_ajax", "base_path", "external", "mounts", "sent"),
    [
        ("", False, "", False, ("",), "/api/x"),
        ("", True, "", True, ("",), "/ajax-api/x"),
        # Clients may use the path below which it is served, or leave it out.
        ("", False, "/ml", False, ("/ml", ""), "/ml/api/x"),
        ("mounts: [/mlflow, /]", True, "/ml", True, ("/mlflow", "/ml", ""), "/ml/ajax-api/x"),
        ("mounts: [/ml, /]", False, "/ml", False, ("/ml", ""), "/ml/api/x"),
        # A base path of the rules is final.
        ("upstream: {base_path: /b}", True, "/ml", True, ("",), "/b/ajax-api/x"),
    ],
)
@pytest.mark.parametrize("host", ["found.example", "::1"])
def test_adapted(
    tmp_path: Path,
    text: str,
    is_ajax: bool,
    base_path: str,
    external: bool,
    mounts: tuple[str, ...],
    sent: str,
    host: str,
) -> None:
    """The findings about an upstream are added for it alone, and the rules stay as they are."""
    path = tmp_path / "rules.yaml"
    rule = "rewrites: [{name: a, match: ^/api/, replace: /ajax-api/, upstream: external}]"
    path.write_text(f"{rule}\n{text}")
    before = settings.read(path, None, "")
    after = settings.adapted(before, (host, 80), is_ajax=is_ajax, base_path=base_path)
    assert after.rules.upstream.is_external(host, 80) is external
    assert not after.rules.upstream.is_external(host, 81)
    assert not after.rules.upstream.is_external("other.example", 80)
    assert after.rules.mounts_longest_first == mounts
    router = after.router
    assert router.route("/api/x", router.applicable(host, 80)).sent == sent
    assert before == settings.read(path, None, "")
