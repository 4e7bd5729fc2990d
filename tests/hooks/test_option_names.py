"""Option names that look like ours."""

from __future__ import annotations

import pytest
from mitmproxy.test import taddons
from support.assembled import Assembled

from addon.hooks.option_names import misspelled
from addon.hooks.rules_in_force import RulesInForce

KNOWN = ["mode", "mlflow_rules", "mlflow_access_log", "mlflow_metrics"]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("mlflow_acces_log", "did you mean 'mlflow_access_log'?"),
        ("MLFLOW_METRICS", "did you mean 'mlflow_metrics'?"),
        ("mlflow-rules", "did you mean 'mlflow_rules'?"),
        (
            "mlflow_xxxxxxxxxxxxxxxx",
            "expected one of mlflow_rules, mlflow_access_log, mlflow_metrics",
        ),
        ("mlflow_rules", None),
        # It may be an option of the user's own script.
        ("my_rules", None),
    ],
)
def test_misspelled(name: str, problem: str | None) -> None:
    """The message suggests the option that was probably meant."""
    found = misspelled([name], KNOWN)
    assert found == ([f"{name}: no such option; {problem}"] if problem else [])


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (["mlflow_lean=perhaps"], 'mlflow_lean: boolean must be "true", "false", or'),
        (["mlflow_keep_flows=many"], "mlflow_keep_flows: not an integer: many"),
        (
            ["mlflow_rules=a", "mlflow_rules=b"],
            "mlflow_rules: Received multiple values for mlflow_rules: ['a', 'b']",
        ),
        (["mlflow_lean=false", "others=1"], None),
    ],
)
def test_values(values: list[str], problem: str | None, caplog: pytest.LogCaptureFixture) -> None:
    """A wrong value ends the start with a line, and until then no rules are in force."""
    with taddons.context() as context:
        context.options.set(*values, defer=True)
        addon = Assembled(context)
        said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
        assert len(said) == bool(problem)
        assert all(line.lower().startswith((problem or "").lower()) for line in said)
        rules = addon.the(RulesInForce)
        rules.configure({"mlflow_rules"})
        assert (rules.settings is None) is bool(problem)
        assert context.options.mlflow_lean is bool(problem)
        addon.done()
