"""The addons in a mitmproxy without a network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from mitmproxy.test import taddons
from support.assembled import Assembled
from support.fixtures import UseRules

from addon.routing import gate
from addon.rules.rules_file import DEFAULT_PATH as RULES


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> Iterator[Assembled]:
    """The addons in a mitmproxy, not yet configured."""
    monkeypatch.delenv(gate.ENVIRONMENT, raising=False)
    with taddons.context() as context:
        context.options.update(mode=["reverse:http://upstream"])
        assembled = Assembled(context)
        yield assembled
        assembled.done()


@pytest.fixture
def addon(bare: Assembled) -> Assembled:
    """The addons with the shipped rules."""
    bare.options(mlflow_rules=str(RULES))
    return bare


@pytest.fixture
def use_rules(bare: Assembled, tmp_path: Path) -> UseRules:
    """Return a function that configures the addon with the text of a rules file."""

    def use(text: str) -> None:
        rules = tmp_path / "rules.yaml"
        rules.write_text(text)
        bare.options(mlflow_rules=str(rules))

    return use
