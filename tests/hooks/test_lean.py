"""Which of mitmproxy's addons leave the chain, and when they come back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from mitmproxy import exceptions, optmanager
from mitmproxy.addonmanager import AddonManager
from mitmproxy.addons import default_addons
from mitmproxy.master import Master
from mitmproxy.options import Options
from mitmproxy.proxy import server
from mitmproxy.tools.dump import DumpMaster

from addon.hooks.lean import UNUSED, Lean, is_set
from addon.internals import still_there
from addon.observe.log_guard import CONNECTIONS

VALUES = {
    "anticache": True,
    "anticomp": True,
    "block_list": [":~u x:404"],
    "hardump": "/dev/null",
    "map_local": ["|/x|/tmp"],
    "map_remote": ["|http://a|http://b"],
    "modify_body": ["/~q/a/b"],
    "modify_headers": ["/~q/X-A/1"],
    "onboarding": False,
    "onboarding_host": "here",
    "proxyauth": "any",
    "save_stream_file": "/dev/null",
    "save_stream_filter": "~q",
    "stickyauth": ".",
    "stickycookie": ".",
    "upstream_auth": "a:b",
}


class Configured:
    """An addon that forwards changes of options, as ours does."""

    def __init__(self, lean: Lean) -> None:
        self.configure = lean.configure


def with_master(
    scenario: Callable[[Any, Lean], None], *, master: type[Master] = DumpMaster
) -> None:
    """Run a scenario with a mitmproxy that has its default addons."""

    async def main() -> None:
        if master is DumpMaster:
            made: Any = DumpMaster(Options(), with_termlog=False)
        else:
            made = master(Options())
            made.addons.add(*default_addons())
        lean = Lean()
        made.addons.add(Configured(lean))
        scenario(made, lean)
        lean.switch(made, False)
        await made.done()

    asyncio.run(main())


def names(master: Any) -> list[str]:
    return [type(addon).__name__.lower() for addon in master.addons.chain]


def test_unused_addons_are_left_out() -> None:
    """Exactly the listed addons leave, and they can still be looked up."""

    def scenario(master: Any, lean: Lean) -> None:
        before = names(master)
        lean.switch(master, True)
        assert names(master) == [name for name in before if name not in UNUSED]
        assert all(master.addons.get(name) for name in UNUSED)
        lean.switch(master, False)
        assert names(master) == before

    with_master(scenario)


def test_every_option_has_a_case() -> None:
    """Each listed option is one that its addon reads."""
    assert {option for options in UNUSED.values() for option in options} == set(VALUES)


@pytest.mark.parametrize(
    ("name", "option"), [(name, option) for name, options in UNUSED.items() for option in options]
)
def test_a_set_option_keeps_its_addon(name: str, option: str) -> None:
    """It stays if the option is set at start, even to its default, or returns when it is set."""

    def before(master: Any, lean: Lean) -> None:
        master.options.update(**{option: VALUES[option]})
        lean.switch(master, True)
        assert [left for left in UNUSED if left in names(master)] == [name]

    def to_default(master: Any, lean: Lean) -> None:
        master.options.update(**{option: master.options.default(option)})
        lean.switch(master, True)
        assert name in names(master)

    def later(master: Any, lean: Lean) -> None:
        order = names(master)
        lean.switch(master, True)
        master.options.update(**{option: VALUES[option]})
        assert names(master) == [n for n in order if n not in UNUSED or n == name]

    for scenario in (before, to_default, later):
        with_master(scenario)


def test_quiet_mitmdump() -> None:
    """With -q no line is written per request until `flow_detail` is raised."""

    def scenario(master: Any, lean: Lean) -> None:
        order = names(master)
        master.options.update(flow_detail=0)
        lean.switch(master, True)
        assert "dumper" not in names(master)
        master.options.update(flow_detail=1)
        assert names(master) == [name for name in order if name not in UNUSED]

    with_master(scenario)


def test_addons_come_back_configured() -> None:
    """The addon receives the option that has brought it back, and works."""

    def scenario(master: Any, lean: Lean) -> None:
        lean.switch(master, True)
        master.options.update(modify_headers=["/~q/X-A/1"])
        assert master.addons.get("modifyheaders").replacements
        # They return in their original order.
        master.options.update(anticache=True)
        chain = names(master)
        assert chain.index("anticache") < chain.index("modifyheaders") < chain.index("tlsconfig")

    with_master(scenario)


def test_an_invalid_value_is_refused() -> None:
    """The value is refused as usual, and the old value stays."""

    def scenario(master: Any, lean: Lean) -> None:
        lean.switch(master, True)
        with pytest.raises(exceptions.OptionsError, match="/x"):
            master.options.update(modify_headers=["/x"])
        assert master.options.modify_headers == []
        master.options.update(modify_headers=["/~q/X-A/1"])
        assert len(master.addons.get("modifyheaders").replacements) == 1

    with_master(scenario)


class Listener:
    """A script written before mitmproxy used Python's logging."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def add_log(self, entry: Any) -> None:
        self.heard.append(entry.msg.split()[-1])


def test_add_log_runs_only_for_scripts_that_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log lines trigger hooks only if a script listens, wherever in the tree it is."""
    triggered: list[str] = []
    trigger = AddonManager.trigger

    def counting(manager: AddonManager, event: Any) -> None:
        triggered.extend([event.name] if event.name == "add_log" else [])
        trigger(manager, event)

    monkeypatch.setattr(AddonManager, "trigger", counting)

    async def main() -> None:
        master: Any = DumpMaster(Options(), with_termlog=False)
        lean, listener, script = Lean(), Listener(), SimpleNamespace(name="script", addons=[])
        master.addons.add(script)

        async def log(text: str) -> None:
            logging.getLogger("mitmproxy").error(text)
            await asyncio.sleep(0)

        await log("before")
        assert triggered.pop() == "add_log"
        lean.switch(master, True)
        await log("unheard")
        assert not triggered
        script.addons = [listener]
        await log("heard")
        script.addons = []
        await log("unheard")
        assert (listener.heard, triggered) == (["heard"], ["add_log"])
        lean.switch(master, False)
        await log("behind")
        assert triggered == ["add_log", "add_log"]
        await master.done()

    asyncio.run(main())


def test_only_in_mitmdump() -> None:
    """mitmweb keeps all addons because people change its options by hand."""

    def scenario(master: Any, lean: Lean) -> None:
        before = names(master)
        lean.switch(master, True)
        assert names(master) == before

    with_master(scenario, master=Master)


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Change parts of mitmproxy; `lacks` looks again."""
    still_there.lacks.cache_clear()
    yield monkeypatch
    still_there.lacks.cache_clear()


def test_a_mitmproxy_without_a_needed_part(changed: pytest.MonkeyPatch) -> None:
    """Nothing changes if a part that this relies on is missing."""
    changed.delattr(server.TimeoutWatchdog, "disarm")

    def scenario(master: Any, lean: Lean) -> None:
        before = names(master)
        lean.switch(master, True)
        assert names(master) == before

    with_master(scenario)


class Recorder(logging.Handler):
    """Keeps the messages that it receives."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        self.heard.append(record.getMessage())


def test_log_lines_without_a_handler() -> None:
    """They produce no record. A new handler gets them from the next client on."""
    source = logging.getLogger(CONNECTIONS)

    def scenario(master: Any, lean: Lean) -> None:
        # pytest's handlers receive everything.
        others = [h for h in root.handlers if h is not master._legacy_log_events]
        for handler in others:
            root.removeHandler(handler)
        warnings, all_of_it = Recorder(logging.WARNING), Recorder(logging.INFO)
        root.addHandler(warnings)
        try:
            lean.switch(master, True)
            lean.set_level()
            assert not source.isEnabledFor(logging.INFO)
            source.warning("client connect")
            root.addHandler(all_of_it)
            lean.set_level()
            source.info("client disconnect")
            root.removeHandler(all_of_it)
            lean.set_level()
            assert not source.isEnabledFor(logging.INFO)
            lean.switch(master, False)
            assert source.level == logging.NOTSET
        finally:
            root.removeHandler(warnings)
            for handler in others:
                root.addHandler(handler)
        assert (warnings.heard, all_of_it.heard) == (["client connect"], ["client disconnect"])

    root = logging.getLogger()
    with_master(scenario)


def test_a_script_hears_all_lines() -> None:
    """The deprecated hook `add_log` is enough."""

    class Script:
        def add_log(self, entry: Any) -> None:
            """The method only has to exist."""

    def scenario(master: Any, lean: Lean) -> None:
        lean.switch(master, True)
        master.addons.add(Script())
        lean.set_level()
        assert logging.getLogger(CONNECTIONS).level <= logging.INFO

    with_master(scenario)


def test_options_without_their_marks(changed: pytest.MonkeyPatch) -> None:
    """Without marks for options that were set, the value is compared with the default."""
    options, others = Options(), Options()
    options.update(rawtcp=not options.rawtcp)
    others.update(rawtcp=others.rawtcp)
    assert is_set(others, "rawtcp")
    changed.delattr(optmanager, "_Option")
    still_there.lacks.cache_clear()
    assert is_set(options, "rawtcp")
    assert not is_set(others, "rawtcp")
    assert not is_set(options, "nothing")
