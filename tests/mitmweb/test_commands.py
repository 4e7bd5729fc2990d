"""Commands, run by mitmproxy's own command manager."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from mitmproxy import exceptions
from mitmproxy.test import taddons
from support.assembled import Assembled

from addon.hooks.rules_in_force import STALE, RulesInForce
from addon.routing import gate
from addon.rules.rules_file import DEFAULT_PATH


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """Return a copy of the shipped rules."""
    path = tmp_path / "rules.yaml"
    path.write_text(DEFAULT_PATH.read_text())
    return path


@pytest.fixture
def context(rules: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[taddons.context]:
    """Run a mitmproxy with the addons and these rules."""
    monkeypatch.delenv(gate.ENVIRONMENT, raising=False)
    with taddons.context() as context:
        context.options.update(mode=["reverse:http://upstream"])
        addon = Assembled(context)
        addon.options(mlflow_rules=str(rules))
        yield context
        addon.done()


def test_commands_are_registered(context: taddons.context) -> None:
    """Commands are registered with types and help, under their public names."""
    known = context.master.commands.commands
    signatures = {name: known[name].signature_help() for name in known if name[:7] == "mlflow."}
    assert signatures == {
        "mlflow.explain": "mlflow.explain url method -> str[]",
        "mlflow.health": "mlflow.health ",
        "mlflow.reload": "mlflow.reload  -> str[]",
        "mlflow.rules": "mlflow.rules  -> str[]",
    }
    assert all(known[name].help for name in signatures)


def test_explain(context: taddons.context) -> None:
    """The command explains a URL as typed at the prompt; the method is optional."""
    url = "https://registry.hokus.ai/api/2.0/mlflow-artifacts/artifacts/a"
    said = context.master.commands.execute(f"mlflow.explain {url}")
    assert said[-2:] == [
        "artifacts read: allowed",
        "result    sent upstream: GET /ajax-api/2.0/mlflow-artifacts/artifacts/a",
    ]
    assert "artifacts delete: allowed" in context.master.commands.execute(
        f"mlflow.explain {url} DELETE"
    )
    said = context.master.commands.execute("mlflow.explain http://example.org/livez")
    assert said[-1].startswith("result    passed on as it is: a forward proxy ")


@pytest.mark.parametrize("arguments", ["nonsense", "/path-without-reverse-mode", "http://x/ G@T"])
def test_explain_nonsense(context: taddons.context, arguments: str) -> None:
    """An invalid argument is an error of the command."""
    with pytest.raises(exceptions.CommandError, match="expected a"):
        context.master.commands.execute(f"mlflow.explain {arguments}")


def test_health_without_a_listener(context: taddons.context) -> None:
    """The command fails if no listener is in reverse mode."""
    with pytest.raises(exceptions.CommandError, match="no listener in reverse mode"):
        context.master.commands.execute("mlflow.health")


def test_rules(context: taddons.context, rules: Path) -> None:
    """The command shows a summary of the rules and their file."""
    said = context.master.commands.execute("mlflow.rules")
    assert said[0] == f"rules     {rules} (current)"
    assert "external  registry.hokus.ai" in said
    assert any(line.startswith("rewrite   rest-to-ajax (external upstreams): ") for line in said)


def test_reload(context: taddons.context, rules: Path) -> None:
    """Changes take effect; a mistake is reported and leaves the old rules in force."""
    execute = context.master.commands.execute
    in_force = context.master.addons.get(RulesInForce.name)
    text = rules.read_text()
    rules.write_text(text.replace("  write: true\n", "  write: false\n"))
    assert execute("mlflow.reload")[0].startswith(f"{rules}: 1 rewrite, ")
    assert "artifacts write: switched off by artifacts.write" in execute("mlflow.rules")

    rules.write_text(text.replace("mounts: [", "mounts: ["[:-1]))
    with pytest.raises(exceptions.CommandError, match=r"old rules stay in force: .*yaml:\d+: "):
        execute("mlflow.reload")
    assert in_force.state == STALE
    said = execute("mlflow.rules")
    assert said[0] == f"rules     {rules} ({STALE})"
    assert "artifacts write: switched off by artifacts.write" in said

    rules.write_text(text)
    execute("mlflow.reload")
    assert in_force.state == "current"
    assert "artifacts write: allowed" in execute("mlflow.rules")


def test_without_rules() -> None:
    """Commands fail if the rules could not be read at start."""
    with taddons.context() as context:
        addon = Assembled(context)
        with pytest.raises(exceptions.CommandError, match="no rules are loaded"):
            context.master.commands.execute("mlflow.explain /x")
        addon.done()
