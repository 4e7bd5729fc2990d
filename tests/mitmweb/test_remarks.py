"""The wording of comments, and when a flow keeps them."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from mitmproxy.test import taddons, tflow
from mitmproxy.utils.emoji import emoji
from support.states import begun

from addon.errors.replies import UPSTREAM_PROBLEMS, Refusal
from addon.errors.upstream import Answer
from addon.hooks import answering
from addon.mitmweb import remarks, shown
from addon.mitmweb.display import Display
from addon.mitmweb.remarks import remark
from addon.routing.admission import TO_THE_PAGE
from addon.routing.flow_state import FirstTry, FlowState


def sent(status: int, content_type: str, body: bytes = b"x") -> Answer:
    """Return an upstream's answer."""
    return Answer(status, content_type, "", body, True)


REWRITTEN = "rewritten by rest-to-ajax: /api/2.0/a -> /ajax-api/2.0/a"
UNTOUCHED: dict[str, Any] = {"rule": None, "sent": "/api/2.0/a?token=hidden"}


@pytest.mark.parametrize(
    ("changes", "status", "why", "original", "expected"),
    [
        ({}, 200, "", None, (":arrow_right:", REWRITTEN)),
        (UNTOUCHED, 200, "", None, ("", "")),
        (
            {"converted": "html"},
            404,
            "",
            sent(404, "text/html"),
            (":wrench:", f"html 404 -> json; {REWRITTEN}"),
        ),
        (
            UNTOUCHED | {"converted": "json"},
            501,
            "",
            sent(500, "application/json"),
            (":wrench:", "json 500 -> json 501"),
        ),
        (
            UNTOUCHED | {"converted": "other"},
            403,
            "",
            sent(403, "application/XML"),
            (":wrench:", "xml 403 -> json"),
        ),
        (
            UNTOUCHED | {"converted": "html"},
            502,
            "",
            sent(502, "text/html", b""),
            (":wrench:", "empty 502 -> json"),
        ),
        (
            UNTOUCHED | {"converted": "other"},
            503,
            "",
            sent(503, ""),
            (":wrench:", "text 503 -> json"),
        ),
        (
            UNTOUCHED | {"converted": "login_page"},
            *(401, "", sent(200, "text/html"), (":key:", "login page 200 -> json 401")),
        ),
        (
            UNTOUCHED | {"converted": "login_redirect"},
            *(401, "", sent(302, ""), (":key:", "login redirect 302 -> json 401")),
        ),
        (
            UNTOUCHED | {"converted": "https_redirect"},
            *(501, "", sent(301, "", b""), (":wrench:", "https redirect 301 -> json 501")),
        ),
        # The proxy's own answer goes before an earlier conversion.
        (
            UNTOUCHED | {"why": "connection_terminated", "converted": "html"},
            *(502, "is cut", sent(404, "text/html")),
            (":no_entry:", "502 no answer; answered by the proxy: is cut; html 404 -> json 502"),
        ),
        # Neither a rule that changes nothing nor a base path without a rule is mentioned.
        ({"sent": "/api/2.0/a?b"}, 200, "", None, ("", "")),
        ({"rule": None}, 200, "", None, ("", "")),
        (
            {"received": "/\udcff", "sent": "/x"},
            *(200, "", None, (":arrow_right:", "rewritten by rest-to-ajax: /\ufffd -> /x")),
        ),
        (
            UNTOUCHED | {"why": "artifacts_disabled"},
            *(503, "is off", None),
            (":no_entry:", "503 disabled; answered by the proxy: is off"),
        ),
        (
            UNTOUCHED,
            *(200, answering.HEALTH, None),
            (":green_heart:", "200 health; answered by the proxy: health"),
        ),
        (
            UNTOUCHED,
            *(308, TO_THE_PAGE, None),
            (":arrow_right:", f"308 slash added; answered by the proxy: {TO_THE_PAGE}"),
        ),
        (
            UNTOUCHED | {"failed": "an id", "why": "foreign_host"},
            *(500, "is off", None),
            (":boom:", f"500 internal error; answered by the proxy: {remarks.FAILURE}"),
        ),
        (
            {"first": FirstTry(FlowState(), None, None), "authorization": b"Bearer hidden"},
            *(200, "", None),
            (":arrow_right:", f"{REWRITTEN}; second try; credentials added"),
        ),
        (UNTOUCHED | {"authorization": b"Bearer hidden"}, 200, "", None, ("", "credentials added")),
    ],
)
def test_wording(
    changes: dict[str, Any],
    status: int,
    why: str,
    original: Answer | None,
    expected: tuple[str, str],
) -> None:
    """The most important part comes first, and the query is left out."""
    state = begun(tflow.tflow(), said=why, original=original, **changes)
    said = remark(state, status)
    assert said == expected
    assert said.marker in ("", *emoji)


def test_the_list_shows_the_first_words() -> None:
    """Each reason has words that, with the status, fit into the column of mitmweb's list."""
    assert {*remarks.WORDS} == {*get_args(Refusal), *UPSTREAM_PROBLEMS}
    assert max(len(f"500 {word}") for word in remarks.WORDS.values()) <= remarks.SHORT


def test_remarks_of_a_user_stay() -> None:
    """A user's marker and comment stay, each on its own, even where the addon's was removed."""
    flow = tflow.tflow(resp=True)
    state = begun(flow)
    flow.comment = "look at this"
    shown.show(flow)
    assert (flow.marked, flow.comment) == (":arrow_right:", "look at this")
    assert not shown.is_marked_by_hand(flow)
    flow.marked = ""
    state.original, state.converted = sent(404, "text/html"), "html"
    shown.show(flow)
    assert (flow.marked, flow.comment) == ("", "look at this")
    flow.marked = ":default:"
    assert shown.is_marked_by_hand(flow)


def test_flows_that_are_not_for_mlflow() -> None:
    """A flow that is not for MLflow gets no marker, comment or metadata."""
    flow = tflow.tflow(resp=True)
    shown.show(flow)
    assert (flow.marked, flow.comment, flow.metadata) == ("", "", {})
    assert shown.original(flow) is None
    assert not shown.is_marked_by_hand(flow)


def test_own_remarks_are_renewed() -> None:
    """The addon's remark follows the flow's state, and is reset when the flow is sent again."""
    flow = tflow.tflow(resp=True)
    state = begun(flow)
    shown.show(flow)
    state.original, state.converted = sent(404, "text/html"), "html"
    shown.show(flow)
    assert flow.marked == ":wrench:"
    assert flow.comment == f"html 404 -> json 200; {REWRITTEN}"
    assert shown.original(flow) == state.original
    begun(flow)
    shown.show(flow)
    assert (flow.marked, flow.comment) == (":arrow_right:", REWRITTEN)
    assert shown.original(flow) is None


def test_a_copy_shows_the_same() -> None:
    """Copies and flow files hold only plain values."""
    flow = tflow.tflow(resp=True)
    state = begun(flow, original=sent(404, "text/html"), converted="html", api=True)
    shown.show(flow)
    copy = flow.copy()
    assert shown.original(copy) == state.original
    assert shown.is_json_of_api(copy)
    assert not shown.is_marked_by_hand(copy)


@pytest.mark.parametrize("option", ["save_stream_file", "hardump"])
def test_flows_in_files(option: str) -> None:
    """Remarks are made for both kinds of flow files, as users read them."""
    with taddons.context() as context:
        display = Display()
        context.options.add_option(option, str, "", "")
        display.configure({option})
        assert not display.is_on()
        context.options.update(**{option: "flows"})
        display.configure({option})
        assert display.is_on()
