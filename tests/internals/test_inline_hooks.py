"""Hooks that are called directly: the same calls as mitmproxy makes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import exceptions, http
from mitmproxy.addons import disable_h2c, update_alt_svc
from mitmproxy.master import Master
from mitmproxy.options import Options
from mitmproxy.proxy.layers.http._hooks import HttpRequestHook
from mitmproxy.test import tflow

from addon.hooks.loop_errors import LoopErrors
from addon.internals.inline_hooks import Dispatcher

KINDS = ["plain", "waits", "fails", "fails later", "halts", "nothing", "module", "no function"]


class Recorder:
    """An addon, perhaps with nested ones, that records calls."""

    def __init__(self, name: str, kind: str, inner: list[Recorder], calls: list[str]) -> None:
        self.name, self.kind, self.calls = name, kind, calls
        if inner:
            self.addons = inner
        if kind in ("module", "no function"):
            self.request: Any = ModuleType("request") if kind == "module" else 1
        elif kind != "nothing":
            self.request = self.waits if kind in ("waits", "fails later") else self.plain

    def __repr__(self) -> str:
        return self.name

    def plain(self, _: http.HTTPFlow) -> None:
        self.calls.append(f"{self.name} request")
        if self.kind == "fails":
            raise ValueError(self.name)
        if self.kind == "halts":
            raise exceptions.AddonHalt

    async def waits(self, _: http.HTTPFlow) -> None:
        self.calls.append(f"{self.name} begins")
        await asyncio.sleep(0)
        self.calls.append(f"{self.name} ends")
        if self.kind == "fails later":
            raise ValueError(self.name)

    def update(self, _: list[http.HTTPFlow]) -> None:
        self.calls.append(f"{self.name} update")


TREES: Any = st.recursive(
    st.tuples(st.sampled_from(KINDS), st.just([])),
    lambda inner: st.tuples(st.sampled_from(KINDS), st.lists(inner, max_size=3)),
    max_leaves=8,
)


def build(trees: list[Any], calls: list[str], prefix: str = "a") -> list[Recorder]:
    return [
        Recorder(f"{prefix}{number}", kind, build(inner, calls, f"{prefix}{number}."), calls)
        for number, (kind, inner) in enumerate(trees)
    ]


def record(trees: list[Any], run: Callable[[Any, HttpRequestHook], Any]) -> list[str]:
    """Return the calls and log messages of a hook."""
    calls: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            # With `log_guard` installed, the message comes before the rest of a traceback.
            calls.append(record.getMessage().partition("\n")[0])

    async def main() -> None:
        master = Master(Options())
        master.addons.add(*build(trees, calls))
        await run(master.addons, HttpRequestHook(tflow.tflow()))
        await master.done()

    handler = Handler(logging.ERROR)
    logging.getLogger("mitmproxy").addHandler(handler)
    try:
        asyncio.run(main())
    finally:
        logging.getLogger("mitmproxy").removeHandler(handler)
    return calls


async def ours(manager: Any, hook: HttpRequestHook) -> None:
    await Dispatcher(manager).run(hook)


@given(st.lists(TREES, max_size=4))
def test_the_same_calls(trees: list[Any]) -> None:
    """Calls have mitmproxy's order and endings, whatever addons do and however they are nested."""
    theirs = record(trees, lambda manager, hook: manager.handle_lifecycle(hook))
    assert record(trees, ours) == theirs


def test_hooks_do_not_wait_needlessly() -> None:
    """A hook without a handler that must wait completes at once."""
    calls: list[str] = []

    async def run(manager: Any, hook: HttpRequestHook) -> None:
        with pytest.raises(StopIteration):
            Dispatcher(manager).run(hook).send(None)
        calls.append("complete")

    assert record([("plain", []), ("fails", [("plain", [])])], run)[:2] == [
        "a0 request",
        "a1 request",
    ]
    assert calls == ["complete"]


def test_an_intercepted_flow_waits() -> None:
    """A hook of an intercepted flow waits until the flow is resumed."""

    async def main() -> None:
        master = Master(Options())
        flow = tflow.tflow()
        flow.intercept()
        task = asyncio.create_task(Dispatcher(master.addons).run(HttpRequestHook(flow)))
        await asyncio.sleep(0.01)
        assert not task.done()
        flow.resume()
        await asyncio.wait_for(task, 10)
        await master.done()

    asyncio.run(main())


def test_addons_that_come_go_and_change() -> None:
    """Addons, a script's addons and their handlers may change: the current ones are called."""
    calls: list[str] = []

    async def main() -> None:
        master = Master(Options())
        dispatcher = Dispatcher(master.addons)

        async def called() -> list[str]:
            calls.clear()
            await dispatcher.run(HttpRequestHook(tflow.tflow()))
            return [call for call in calls if "update" not in call]

        assert await called() == []
        script = SimpleNamespace(name="script", addons=[])
        master.addons.add(script)
        one, other = Recorder("one", "plain", [], calls), Recorder("other", "plain", [], calls)
        assert await called() == []
        master.addons.register(one)
        script.addons = [one]
        assert await called() == ["one request"]
        # A script that was edited: the same name, a new object.
        master.addons.remove(one)
        script.addons = []
        again = Recorder("one", "nothing", [], calls)
        master.addons.register(again)
        script.addons = [again]
        assert await called() == []
        again.request = lambda _: calls.append("set later")
        assert await called() == ["set later"]
        master.addons.add(other)
        assert await called() == ["set later", "other request"]
        master.addons.remove(script)
        assert await called() == ["other request"]
        master.addons.chain = []
        assert await called() == []
        await master.done()

    asyncio.run(main())


def test_handlers_that_look_for_something_rare() -> None:
    """Two of mitmproxy's own handlers are called only when the header they look for is there."""
    called: list[str] = []

    def note(name: str) -> Callable[[http.HTTPFlow], None]:
        return lambda _: called.append(name)

    async def run() -> None:
        master = Master(Options())
        h2c, alt = disable_h2c.DisableH2C(), update_alt_svc.UpdateAltSvc()
        vars(h2c)["request"], vars(alt)["responseheaders"] = note("h2c"), note("alt")
        master.addons.add(h2c, alt)
        dispatcher = Dispatcher(master.addons)
        for upgrade, place in (("", ""), ("h2c", "h3")):
            flow = tflow.tflow(resp=True)
            if upgrade:
                flow.request.headers["Upgrade"] = upgrade
                assert flow.response is not None
                flow.response.headers["Alt-Svc"] = place
            assert dispatcher.call("request", flow) is None
            assert dispatcher.call("responseheaders", flow) is None
            called.append("-")

    asyncio.run(run())
    assert called == ["-", "h2c", "alt", "-"]


def test_addons_that_never_change_are_looked_up_once() -> None:
    """Handlers of this package's own addons, like those of mitmproxy's own, are looked up once."""
    called: list[str] = []

    async def run() -> None:
        master = Master(Options())
        ours: Any = LoopErrors()
        ours.request = lambda _: called.append("first")
        master.addons.add(ours)
        dispatcher = Dispatcher(master.addons)
        dispatcher.call("request", tflow.tflow())
        ours.request = lambda _: called.append("not noticed")
        dispatcher.call("request", tflow.tflow())

    asyncio.run(run())
    assert called == ["first", "first"]
