"""Misspelled options of the addon, which mitmproxy itself would accept silently."""

from __future__ import annotations

from pathlib import Path

import lab
import pytest


@pytest.mark.parametrize("where", ["--set", "config.yaml"])
def test_misspelled(where: str, tmp_path: Path) -> None:
    """The proxy does not start and suggests the right name; the value is not shown."""
    rules = lab.write_rules(tmp_path / "rules.yaml", external=[])
    options = ["--set", f"confdir={tmp_path}"]
    if where == "--set":
        options += ["--set", "mlflow_acces_log=secret"]
    else:
        (tmp_path / "config.yaml").write_text("mlflow_acces_log: secret\n")
    away = f"http://127.0.0.1:{lab.free_port()}"
    with lab.proxy(away, rules, log=tmp_path / "log", options=options) as proxy:
        assert proxy.process.wait(30) == 1
        text = proxy.text()
    assert "mlflow_acces_log: no such option; did you mean 'mlflow_access_log'?" in text
    assert "secret" not in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (["mlflow_lean=perhaps"], "mlflow_lean: "),
        (["mlflow_serve_artifacts=true"] * 2, "mlflow_serve_artifacts: "),
        (["mlflow_keep_flows=-1"], "mlflow_keep_flows: -1: expected 0 or more"),
        (["ssl_verify_upstream_trusted_ca=/no.pem"], "/no.pem: No such file or directory"),
    ],
)
def test_values(values: list[str], problem: str, tmp_path: Path) -> None:
    """mitmproxy would serve without the addon, or later fail for each request."""
    rules = lab.write_rules(tmp_path / "rules.yaml", external=[])
    options = [word for value in values for word in ("--set", value)]
    away = f"http://127.0.0.1:{lab.free_port()}"
    with lab.proxy(away, rules, log=tmp_path / "log", options=options) as proxy:
        assert proxy.process.wait(30) == 1
        text = proxy.text()
    assert problem in text
    assert "Traceback" not in text
