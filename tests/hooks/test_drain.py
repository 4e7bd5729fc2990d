"""The drain after SIGTERM without connections; tests/integration/test_drain.py covers the rest."""

from __future__ import annotations

import asyncio

import pytest
from mitmproxy import ctx
from mitmproxy.addons.proxyserver import Proxyserver
from support.assembled import Assembled, make_flow

from addon.hooks import drain
from addon.hooks.drain import Drain
from addon.rules.model import Drain as Limits


def drain_now(addon: Assembled, limits: Limits, *, watched: bool) -> None:
    """Run the drain to its end in mitmproxy's own loop."""
    ctx.master.addons.add(Proxyserver())
    loop = ctx.master.event_loop
    loop.run_until_complete(addon.the(Drain)._run(limits, watched=watched))
    loop.run_until_complete(asyncio.sleep(0))  # mitmproxy ends in the loop's next iteration.


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name == drain.logger.name]


@pytest.mark.parametrize(
    ("grace", "watched", "said"),
    [
        (0, True, "draining: 0 seconds of grace, then up to 5 for what is in flight"),
        # Nothing asks for /readyz, so its 503 would go unnoticed.
        (
            3600,
            False,
            "draining: 0 seconds of grace (no load balancer asks for /readyz), "
            "then up to 5 for what is in flight",
        ),
    ],
)
def test_nothing_in_flight(
    addon: Assembled,
    grace: float,
    watched: bool,
    said: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The listeners close and mitmproxy ends, with two lines in the log."""
    monkeypatch.setattr(drain, "INTERVAL", 0)
    drain_now(addon, Limits(grace=grace, timeout=5), watched=watched)
    assert lines(caplog) == [said, "drained"]
    assert ctx.options.server is False
    assert ctx.master.should_exit.is_set()


def test_a_failed_drain_ends_the_proxy(
    addon: Assembled, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception in the drain must not keep a stopping process alive."""
    monkeypatch.setattr(drain, "INTERVAL", 0)

    def broken() -> bool:
        raise RuntimeError("cause")

    monkeypatch.setattr(addon.the(Drain), "_in_flight", broken)
    drain_now(addon, Limits(grace=0, timeout=5), watched=True)
    assert "draining has failed" in caplog.text
    assert "cause" in caplog.text
    assert ctx.master.should_exit.is_set()


def test_requests_are_cut_at_the_end_of_the_time(
    addon: Assembled, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests in flight at that time are cut."""
    monkeypatch.setattr(drain, "INTERVAL", 0)
    monkeypatch.setattr(addon.the(Drain), "_in_flight", lambda: True)
    drain_now(addon, Limits(grace=0, timeout=0), watched=True)
    assert lines(caplog)[1:] == ["the time to drain is over: 0 connection(s) are cut"]
    assert ctx.master.should_exit.is_set()


def test_readyz_fails_during_the_drain(addon: Assembled) -> None:
    """/readyz says that the proxy drains as soon as the signal arrives."""
    addon.the(Drain).begun = True
    flow = make_flow("/readyz/local")
    answer = addon.run("requestheaders", flow)

    async def wait() -> None:
        await answer

    asyncio.run(wait())
    assert flow.response is not None
    assert flow.response.status_code == 503
