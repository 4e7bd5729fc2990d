"""What is in force: the rules, with the position of the artifact switch over them."""

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
    """A switch that would refuse nothing is an error: requests would pass in silence."""
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    with pytest.raises(RulesError) as error:
        settings.read(path, environment, option)
    assert str(error.value) == (
        f"{path}: artifacts.endpoints: []: expected the requests to refuse, because {why}; "
        "the shipped rules.yaml lists those of MLflow"
    )


@pytest.mark.parametrize(
    ("text", "wary"),
    [
        ("mounts: [/]", False),
        (SOME + "}", False),
        (SOME + ", enabled: false}", True),
        (SOME + ", delete: false}", True),
    ],
)
def test_wary(tmp_path: Path, text: str, wary: bool) -> None:
    """Whether some artifact requests are refused."""
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    assert settings.read(path, None, "").wary is wary
