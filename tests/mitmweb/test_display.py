"""The addon's changes to mitmweb itself."""

import pytest
from mitmproxy.test import taddons
from mitmproxy.tools.web import webaddons
from support.assembled import Assembled

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
