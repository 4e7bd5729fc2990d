"""What is told of a flow that has ended, where no decision was made or somebody cut it short."""

from __future__ import annotations

import pytest
from mitmproxy.flow import Error
from mitmproxy.test import tflow

from addon.hooks.on_end import ended
from addon.routing import flow_state


@pytest.mark.parametrize(
    ("message", "source"), [(Error.KILLED_MESSAGE, "proxy"), ("client disconnected", "client")]
)
def test_who_ended_it(message: str, source: str) -> None:
    """A person at mitmweb, or a script, is the proxy; whoever goes away is the client."""
    flow = tflow.tflow()
    flow.error = Error(message)
    assert ended(flow).error_source == source


@pytest.mark.parametrize(("status", "source"), [(200, None), (500, "upstream")])
def test_without_a_decision(status: int, source: str | None) -> None:
    """A flow that is none of ours; its query is nobody's business."""
    flow = tflow.tflow(resp=True)
    flow.request.path = "/page;token=hidden?token=hidden"
    assert flow.response is not None
    flow.response.status_code = status
    told = ended(flow)
    assert (told.path, told.sent_path, told.error_source) == ("/page", None, source)
    assert told.family == "other"


def test_an_exception_of_ours_before_the_decision() -> None:
    """The error is the proxy's."""
    flow = tflow.tflow(resp=True)
    flow_state.of(flow).failed = "an id"
    assert flow.response is not None
    flow.response.status_code = 500
    assert ended(flow).error_source == "proxy"
