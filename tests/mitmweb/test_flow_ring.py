"""Which flows mitmweb drops."""

from __future__ import annotations

import pytest
from mitmproxy import http
from mitmproxy.addons.view import View
from mitmproxy.test import taddons, tflow
from support.states import begun

from addon.internals import still_there
from addon.mitmweb import flow_ring, shown


def flows(count: int) -> list[http.HTTPFlow]:
    """Return ended flows, the oldest first."""
    made = [tflow.tflow(resp=True) for _ in range(count)]
    for number, flow in enumerate(made):
        flow.timestamp_created = flow.request.timestamp_start = float(number)
        flow.live = False
    return made


@pytest.mark.parametrize(
    ("held", "most", "left"), [(10, 10, 10), (11, 10, 9), (30, 10, 9), (30, 0, 30), (3, 1, 0)]
)
def test_the_oldest_give_way(held: int, most: int, left: int) -> None:
    """The oldest flows are dropped, a few more than needed, so that not each flow causes a trim."""
    view = View()
    with taddons.context(view):
        all_flows = flows(held)
        view.add(all_flows)
        flow_ring.trim(view, most)
        assert [*view] == all_flows[held - left :]


def test_marked_and_live_flows_stay() -> None:
    """Flows marked by a user and live flows stay; the addon's own marks do not count."""
    view = View()
    with taddons.context(view):
        all_flows = flows(20)
        all_flows[0].marked = ":default:"
        all_flows[1].live = True
        begun(all_flows[2])
        shown.show(all_flows[2])
        assert all_flows[2].marked
        view.add(all_flows)
        flow_ring.trim(view, 10)
        assert [*view] == [*all_flows[:2], *all_flows[13:]]
        assert all_flows[1].error is None


def test_another_view(monkeypatch: pytest.MonkeyPatch) -> None:
    """If mitmproxy's view has changed, all flows stay."""
    view = View()
    monkeypatch.delattr(View, "store_count")
    still_there.lacks.cache_clear()
    try:
        flow_ring.trim(view, 10)
    finally:
        still_there.lacks.cache_clear()
