"""The rules in force at start and after a change."""

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import exceptions
from support.assembled import Assembled, make_flow

from addon.hooks.rules_in_force import CURRENT, STALE, RulesInForce
from addon.mitmweb.display import Display
from addon.routing import settings
from addon.rules import last_read
from addon.rules.rules_file import RulesError


def test_bad_rules_end_the_start(
    bare: Assembled, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """mitmproxy exits after a logged error. If it stayed alive, it would refuse every request."""
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


def test_a_bad_change_keeps_the_old_rules(addon: Assembled, tmp_path: Path) -> None:
    """An invalid option is refused and changes nothing."""
    rules = tmp_path / "rules.yaml"
    rules.write_text("x: 1")
    before = addon.the(RulesInForce).settings
    with pytest.raises(exceptions.OptionsError, match="x: unknown key"):
        addon.options(mlflow_rules=str(rules))
    addon.the(Display).running()
    with pytest.raises(exceptions.OptionsError, match="mlflow_keep_flows: -1: expected 0 or more"):
        addon.options(mlflow_keep_flows=-1)
    with pytest.raises(exceptions.OptionsError, match="mlflow_serve_artifacts: 'perhaps'"):
        addon.options(mlflow_serve_artifacts="perhaps")
    assert addon.the(RulesInForce).settings == before


def test_without_rules(bare: Assembled) -> None:
    """Reading the settings fails before any are loaded."""
    with pytest.raises(RuntimeError, match="no rules are loaded"):
        bare.the(RulesInForce).get()


def test_reload_now(addon: Assembled, tmp_path: Path) -> None:
    """New rules reach all followers. A mistake changes nothing and is logged until it is fixed."""
    path = tmp_path / "rules.yaml"
    path.write_text("mounts: [/a]")
    addon.options(mlflow_rules=str(path))
    rules = addon.the(RulesInForce)
    followed: list[list[str]] = []
    rules.followers.append(lambda read: followed.append([*map(str, read.rules.mounts)]))
    before = rules.get()
    path.write_text("mounts: 5")
    with pytest.raises(RulesError):
        rules.reload_now()
    assert (rules.state, rules.get(), followed) == (STALE, before, [])
    path.write_text("mounts: [/b]")
    rules.reload_now()
    assert (rules.state, followed) == (CURRENT, [["/b"]])
    assert rules.reloads == {"success": 1, "failure": 1}


@pytest.mark.parametrize(
    ("options", "reads"),
    [
        ({"mlflow_serve_artifacts": "false"}, True),
        ({"mlflow_keep_flows": 5}, False),
        ({"mode": ["reverse:http://other"]}, False),
    ],
)
def test_options_that_reload_the_rules(
    addon: Assembled, options: dict[str, Any], reads: bool
) -> None:
    """Only options that affect the settings trigger a new read."""
    before = addon.the(RulesInForce).get()
    addon.options(**options)
    assert (addon.the(RulesInForce).get() is not before) is reads


@pytest.mark.parametrize(
    ("text", "level", "said", "state"),
    [
        ("mounts: [/b]", "WARNING", "the rules were read again: ", CURRENT),
        ("mounts: 5", "ERROR", "the old rules stay in force: ", STALE),
    ],
)
def test_sighup(
    addon: Assembled,
    tmp_path: Path,
    text: str,
    level: str,
    said: str,
    state: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A background reload logs its result."""
    path = tmp_path / "rules.yaml"
    path.write_text("mounts: [/a]")
    addon.options(mlflow_rules=str(path))
    path.write_text(text)
    rules = addon.the(RulesInForce)

    async def hang_up() -> None:
        rules._reload_soon()
        assert rules._reloading is not None
        await rules._reloading

    asyncio.run(hang_up())
    (record,) = caplog.records
    assert record.levelname == level
    assert record.message.startswith(said)
    assert rules.state == state


def test_a_broken_follower(addon: Assembled, caplog: pytest.LogCaptureFixture) -> None:
    """An exception during a reload is logged, and the watch continues."""
    rules = addon.the(RulesInForce)

    def broken(_: object) -> None:
        raise RuntimeError("cause")

    rules.followers.append(broken)
    asyncio.run(rules._reload())
    assert rules.state == STALE
    assert "the old rules stay in force" in caplog.text
    assert "cause" in caplog.text


def test_one_reading_after_the_other(addon: Assembled, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rules of a slow reading never replace those of one that began later."""
    rules, steps = addon.the(RulesInForce), []

    def read(*_: object) -> settings.Settings:
        steps.append("begins")
        time.sleep(0.05)
        steps.append("ends")
        return rules.get()

    async def twice() -> None:
        await asyncio.gather(rules._reload(), rules._reload())

    monkeypatch.setattr(settings, "read", read)
    asyncio.run(twice())
    assert steps == ["begins", "ends"] * 2


@pytest.mark.parametrize(
    ("text", "problem"), [("mounts: [/b]", None), ("mounts: 5", "mounts: 5: expected a list")]
)
def test_other_processes_see_the_last_reading(
    addon: Assembled, tmp_path: Path, text: str, problem: str
) -> None:
    """After a reload other processes can see how the last reading of the rules ended."""
    path = tmp_path / "rules.yaml"
    path.write_text("mounts: [/a]")
    addon.options(mlflow_rules=str(path))
    rules = addon.the(RulesInForce)

    async def run() -> None:
        rules.running()
        for content, expected in (("mounts: [/a]", None), (text, problem)):
            path.write_text(content)
            began = time.monotonic()
            await rules._reload()
            reading = last_read.of(os.getpid())
            assert reading is not None
            assert began <= reading.began <= time.monotonic()
            assert reading.path == str(path)
            assert (expected or "None") in str(reading.problem)
        rules.done()

    before = signal.getsignal(signal.SIGHUP)
    try:
        asyncio.run(run())
    finally:
        signal.signal(signal.SIGHUP, before)
    assert last_read.of(os.getpid()) is None
