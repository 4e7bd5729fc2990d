"""The rules in force: at start, and after a change."""

from pathlib import Path

import pytest
from mitmproxy import exceptions
from support.assembled import Assembled, make_flow

from addon.hooks.rules_in_force import RulesInForce


def test_bad_rules_at_start_are_logged_and_nothing_is_served(
    bare: Assembled, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """mitmproxy ends for a logged error; should it live on, every request is refused."""
    rules = tmp_path / "rules.yaml"
    rules.write_text("x: 1")
    bare.options(mlflow_rules=str(rules))
    errors = [r for r in caplog.records if r.levelname == "ERROR"]
    assert len(errors) == 1
    assert "x: unknown key" in errors[0].message
    assert errors[0].exc_info is None
    flow = make_flow("/api/2.0/mlflow/x")
    bare.run("requestheaders", flow)
    assert flow.response is not None
    assert flow.response.status_code == 500


def test_bad_rules_later_keep_the_old_ones(addon: Assembled, tmp_path: Path) -> None:
    """An option that cannot be used is refused and changes nothing."""
    rules = tmp_path / "rules.yaml"
    rules.write_text("x: 1")
    before = addon.the(RulesInForce).settings
    with pytest.raises(exceptions.OptionsError, match="x: unknown key"):
        addon.options(mlflow_rules=str(rules))
    with pytest.raises(exceptions.OptionsError, match="mlflow_keep_flows: -1: expected 0 or more"):
        addon.options(mlflow_keep_flows=-1)
    with pytest.raises(exceptions.OptionsError, match="mlflow_serve_artifacts: 'perhaps'"):
        addon.options(mlflow_serve_artifacts="perhaps")
    assert addon.the(RulesInForce).settings == before
