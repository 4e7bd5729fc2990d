"""The addon's changes to mitmweb itself."""

import pytest
from mitmproxy.test import taddons
from mitmproxy.tools.web import webaddons
from support.assembled import Assembled

from addon.mitmweb.display import Display

OWN = ["tls", "icon", "path", "method", "status", "size", "time"]
"""mitmweb's default."""


@pytest.mark.parametrize(
    ("chosen", "shown"),
    [
        (None, ["tls", "icon", "path", "comment", "method", "status", "size", "time"]),
        (OWN, OWN),
        (["comment", "status"], ["comment", "status"]),
        ([], []),
    ],
)
def test_columns_of_mitmweb(chosen: list[str] | None, shown: list[str]) -> None:
    """Comments get a column, unless the user has set the columns, even to the default."""
    with taddons.context(webaddons.WebAddon()) as context:
        if chosen is not None:
            context.options.web_columns = chosen
        addon = Assembled(context)
        assert context.options.web_columns == shown
        addon.done()


def test_a_wrong_number_at_start(caplog: pytest.LogCaptureFixture) -> None:
    """The start ends with one line, and not with a traceback."""
    with taddons.context() as context:
        display = Display()
        context.master.addons.add(display)
        context.options.mlflow_keep_flows = -1
    assert [record.getMessage() for record in caplog.records] == [
        "mlflow_keep_flows: -1: expected 0 or more"
    ]
