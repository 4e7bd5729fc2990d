"""The report about an ended flow if it had no decision or was cut short."""

from __future__ import annotations

import pytest
from mitmproxy.flow import Error
from mitmproxy.test import tflow

from addon.hooks.on_end import ended
from addon.routing import flow_state


@pytest.mark.parametrize(
    ("message", "source"), [(Error.KILLED_MESSAGE, "proxy"), ("client disconnected", "client")]
)
def test_source_of_the_end(message: str, source: str) -> None:
    """A flow killed in mitmweb or by a script is the proxy's; a disconnect is the client's."""
    flow = tflow.tflow()
    flow.error = Error(message)
    assert ended(flow).error_source == source


@pytest.mark.parametrize(("status", "source"), [(200, None), (500, "upstream")])
def test_without_a_decision(status: int, source: str | None) -> None:
    """A flow outside the rules: its query is not reported."""
    flow = tflow.tflow(resp=True)
    flow.request.path = "/page;token=hidden?token=hidden"
    assert flow.response is not None
    flow.response.status_code = status
    told = ended(flow)
    assert (told.path, told.sent_path, told.error_source) == ("/page", None, source)
    assert told.family == "other"


def test_an_exception_before_the_decision() -> None:
    """The error is attributed to the proxy."""
    flow = tflow.tflow(resp=True)
    flow_state.of(flow).failed = "an id"
    assert flow.response is not None
    flow.response.status_code = 500
    assert ended(flow).error_source == "proxy"
