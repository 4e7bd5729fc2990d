"""The path column of mitmweb."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from mitmproxy import flow, http
from mitmproxy.addons import export
from mitmproxy.test import taddons, tflow
from mitmproxy.tools.web import app, webaddons
from support.assembled import Assembled
from support.states import begun

from addon.mitmweb import shown

SENT = "/ajax-api/2.0/a?token=hidden"
RECEIVED = "/api/2.0/a?token=hidden"


@pytest.fixture(autouse=True)
def in_mitmweb() -> Iterator[None]:
    """The addons run in mitmweb."""
    before = app.flow_to_json
    with taddons.context(webaddons.WebAddon()) as context:
        addon = Assembled(context)
        addon.options(mlflow_lean=False)
        display = next(a for a in addon.addons if a.name == "mlflow-display")
        display.running()
        assert app.flow_to_json is not before
        yield
        addon.done()
    assert app.flow_to_json is before


def path_of(one: flow.Flow) -> str:
    """Return what the browser gets as path of a flow."""
    described: dict[str, Any] = app.flow_to_json(one)
    path: str = described["request"]["path"]
    return path


def rewritten(path: str = SENT, **fields: Any) -> http.HTTPFlow:
    """Return a flow whose path was rewritten."""
    made = tflow.tflow(resp=True)
    made.request.path = path
    begun(made, sent=path, **fields)
    shown.show(made)
    return made


def test_paths_are_as_clients_sent_them() -> None:
    """The browser gets the client's path and the query; all else is the flow's own."""
    made = rewritten()
    assert path_of(made) == RECEIVED
    assert path_of(made.copy()) == RECEIVED
    assert made.request.path == SENT
    assert f"GET {SENT} HTTP/1.1".encode() in export.raw_request(made)
    assert path_of(rewritten("/ajax-api/2.0/a")) == "/api/2.0/a"


@pytest.mark.parametrize("path", ["/x", "/ajax-api/2.0/a", "/api/2.0/a?token=hidden&b"])
def test_edited_paths_are_shown(path: str) -> None:
    """A path that a person has changed is shown as it is."""
    made = rewritten()
    made.request.path = path
    assert path_of(made) == path


def test_an_intercepted_flow_shows_where_it_goes() -> None:
    """A path that may be edited before it goes upstream is the one that goes upstream."""
    made = rewritten()
    made.intercept()
    assert path_of(made) == SENT
    made.resume()
    assert path_of(made) == RECEIVED


def test_a_part_that_is_left_out_survives_an_edit() -> None:
    """A path of which the proxy keeps only a part is shown as it is."""
    assert path_of(rewritten("/ajax-api/2.0/a;b=c")) == "/ajax-api/2.0/a;b=c"


def test_other_flows() -> None:
    """Flows that are not for MLflow are as before."""
    assert path_of(tflow.tflow()) == "/path"
    assert "messages_meta" in app.flow_to_json(tflow.ttcpflow())
    assert "request" in app.flow_to_json(tflow.tdnsflow())
