"""Option names that look like ours."""

from __future__ import annotations

import pytest

from addon.hooks.option_names import misspelled

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
