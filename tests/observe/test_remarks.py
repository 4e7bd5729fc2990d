"""The wording of comments, and what a flow keeps of them."""

from __future__ import annotations

import pytest
from mitmproxy.test import taddons, tflow
from mitmproxy.utils.emoji import emoji

from addon.hooks import on_show
from addon.observe import remarks
from addon.observe.remarks import Original, remark
from addon.routing import decision
from addon.routing.decision import Decision


def decided(**changes: object) -> Decision:
    """A decision for a flow that is rewritten."""
    made: dict[str, object] = {
        "received": "/api/2.0/a",
        "sent": "/ajax-api/2.0/a?token=hidden",
        "rule": "rest-to-ajax",
        "login": None,
        "page": False,
    }
    return made | changes  # type: ignore[return-value]


def sent(status: int, content_type: str, body: bytes = b"x") -> Original:
    """What an upstream sent."""
    return Original(status, content_type, "", body, True)


REWRITTEN = "rest-to-ajax: /api/2.0/a -> /ajax-api/2.0/a"
UNTOUCHED: dict[str, object] = {"rule": None, "sent": "/api/2.0/a?token=hidden"}


@pytest.mark.parametrize(
    ("changes", "status", "why", "original", "expected"),
    [
        ({}, 200, "", None, (":arrow_right:", REWRITTEN)),
        (UNTOUCHED, 200, "", None, ("", "")),
        ({}, 404, "", sent(404, "text/html"), (":wrench:", f"html 404 -> json; {REWRITTEN}")),
        (UNTOUCHED, 501, "", sent(500, "application/json"), (":wrench:", "json 500 -> json 501")),
        (UNTOUCHED, 403, "", sent(403, "application/XML"), (":wrench:", "xml 403 -> json")),
        (UNTOUCHED, 502, "", sent(502, "text/html", b""), (":wrench:", "empty 502 -> json")),
        (UNTOUCHED, 503, "", sent(503, ""), (":wrench:", "text 503 -> json")),
        (
            UNTOUCHED | {"page": True},
            *(401, "", sent(200, "text/html"), (":key:", "login page 200 -> json 401")),
        ),
        (
            UNTOUCHED | {"login": "https://idp"},
            *(401, "", sent(302, ""), (":key:", "login redirect 302 -> json 401")),
        ),
        # What the proxy answers counts more than what was converted before.
        (
            UNTOUCHED,
            *(502, "is cut", sent(404, "text/html")),
            (":no_entry:", "is cut (answered 502); html 404 -> json 502"),
        ),
        # A rule that changes nothing is no news, nor is a base path without a rule.
        ({"sent": "/api/2.0/a?b"}, 200, "", None, ("", "")),
        ({"rule": None}, 200, "", None, ("", "")),
        (
            {"received": "/\udcff", "sent": "/x"},
            *(200, "", None, (":arrow_right:", "rest-to-ajax: /\ufffd -> /x")),
        ),
        (UNTOUCHED, 503, "is off", None, (":no_entry:", "is off (answered 503)")),
        (UNTOUCHED, 200, remarks.HEALTH, None, (":green_heart:", "health (answered 200)")),
        (UNTOUCHED, 500, remarks.FAILURE, None, (":boom:", f"{remarks.FAILURE} (answered 500)")),
    ],
)
def test_wording(
    changes: dict[str, object],
    status: int,
    why: str,
    original: Original | None,
    expected: tuple[str, str],
) -> None:
    """What matters most comes first, and no query is in it."""
    said = remark(decided(**changes), status, why, original)
    assert said == expected
    assert said.marker in ("", *emoji)


def test_what_a_person_has_set_stays() -> None:
    """Marker and comment each for itself, also where ours was taken away."""
    flow = tflow.tflow(resp=True)
    flow.metadata[decision.DECISION] = decided()
    flow.comment = "look at this"
    on_show.show(flow)
    assert (flow.marked, flow.comment) == (":arrow_right:", "look at this")
    assert not on_show.is_marked_by_hand(flow)
    flow.marked = ""
    on_show.keep_original(flow, sent(404, "text/html"))
    on_show.show(flow)
    assert (flow.marked, flow.comment) == ("", "look at this")
    flow.marked = ":default:"
    assert on_show.is_marked_by_hand(flow)


@pytest.mark.parametrize(
    ("metadata", "marker"),
    [
        ({decision.SAID: "is off"}, ":no_entry:"),
        ({decision.SAID: "is off", decision.FAILED: "id"}, ":boom:"),
    ],
)
def test_why(metadata: dict[str, str], marker: str) -> None:
    """A failure counts more than what was said before it."""
    flow = tflow.tflow(resp=True)
    flow.metadata |= {decision.DECISION: decided(), **metadata}
    on_show.show(flow)
    assert flow.marked == marker


def test_a_flow_that_is_sent_again() -> None:
    """What the upstream had sent the first time is forgotten."""
    flow = tflow.tflow(resp=True)
    assert not on_show.is_marked_by_hand(flow)
    on_show.keep_original(flow, sent(404, "text/html"))
    assert on_show.original(flow) == sent(404, "text/html")
    on_show.forget(flow)
    assert on_show.original(flow) is None


@pytest.mark.parametrize("option", ["save_stream_file", "hardump"])
def test_flows_in_files(option: str) -> None:
    """Both kinds of files are read by people."""
    with taddons.context() as context:
        assert not on_show.goes_to_a_file()
        context.options.add_option(option, str, "", "")
        assert not on_show.goes_to_a_file()
        context.options.update(**{option: "flows"})
        assert on_show.goes_to_a_file()


def test_ours_is_renewed() -> None:
    """As more is known of a flow."""
    flow = tflow.tflow(resp=True)
    flow.metadata[decision.DECISION] = decided()
    on_show.show(flow)
    on_show.keep_original(flow, sent(404, "text/html"))
    on_show.show(flow)
    assert flow.marked == ":wrench:"
    assert flow.comment == f"html 404 -> json 200; {REWRITTEN}"
