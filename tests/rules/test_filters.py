"""Filter expressions in rules."""

import pytest
from mitmproxy.test import tflow

from addon.rules.filters import parse_request_filter


@pytest.mark.parametrize(
    ("expression", "matches"),
    [("~m GET", True), ("~m PUT", False), ("~hq header & ~u path", True), ("!(~d address)", False)],
)
def test_matches_the_request(expression: str, matches: bool) -> None:
    """A filter is matched by mitmproxy itself."""
    assert bool(parse_request_filter(expression)(tflow.tflow())) is matches


@pytest.mark.parametrize(
    "expression",
    ["~b x", "~bq x", "~bs x", "~c 200", "~s", "~e", "~hs x", "~ts x", "!(~m GET | ~c 5)"],
)
def test_filters_on_later_parts_are_refused(expression: str) -> None:
    """A filter on a body or a response could never match when rules are applied."""
    with pytest.raises(ValueError, match="asks for a body or a response"):
        parse_request_filter(expression)
