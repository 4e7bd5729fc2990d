"""The one place that reaches into mitmproxy's HTTP layer.

mitmproxy answers by itself when a connection fails or a message is malformed: in HTML, after the
last hook that an addon could use (https://github.com/mitmproxy/mitmproxy/issues/4854 was closed
without an interface, https://github.com/mitmproxy/mitmproxy/pull/7999 is open). It is lenient about
where a message ends, holds bodies that it could refuse, and knows no limits for heads. None of that
can be changed from a hook; so some of its classes and functions are replaced, in the modules that
use them, by subclasses and wrappers:

* `streams`: one request with its response.
* `http1`: HTTP/1 connections, to clients and upstreams.
* `http2`: HTTP/2 connections.

`install` checks that all they build on is still there. Tested with mitmproxy 11.0, 12.2 and 12.3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mitmproxy import http
from mitmproxy.proxy import layers
from mitmproxy.proxy.layers.http import _http1

from .. import framing
from .http1 import client_class, server_class
from .http2 import paced_class
from .interface import Addon
from .responses import to_last_bytes
from .streams import stream_class

_PLACES: tuple[tuple[Any, str], ...] = (
    (layers.http, "HttpStream"),
    (layers.http, "Http1Server"),
    (layers.http, "Http1Client"),
    (layers.http, "Http2Server"),
    (layers.http, "Http2Client"),
    (layers.http, "validate_request"),
    (layers.http, "validate_headers"),
    (_http1, "make_error_response"),
    (_http1, "make_body_reader"),
)
_NEEDED = {
    "HttpStream": (
        "check_body_size",
        "check_invalid",
        "check_killed",
        "flow_done",
        "handle_protocol_error",
        "make_server_connection",
        "send_response",
        "start_request_stream",
        "start_response_stream",
        "state_consume_request_body",
        "state_consume_response_body",
        "state_done",
        "state_errored",
        "state_stream_request_body",
        "state_stream_response_body",
        "state_wait_for_request_headers",
        "state_wait_for_response_headers",
    ),
    "HttpLayer": ("connections", "streams", "waiting_for_establishment"),
    "Http1Server": (
        "_handle_event",
        "done",
        "mark_done",
        "read_body",
        "read_headers",
        "send",
        "wait",
    ),
    "Http1Client": ("done", "mark_done", "read_headers"),
}


class UnsupportedError(RuntimeError):
    """This mitmproxy has changed where we reach into it."""


def install(addon: Addon) -> Callable[[], None]:
    """Replace the parts of mitmproxy's HTTP layer.

    Args:
        addon: whom they ask.

    Returns:
        A function that undoes it.

    Raises:
        UnsupportedError: something that this builds on is missing.
    """
    missing = [name for module, name in _PLACES if not hasattr(module, name)]
    for owner, names in _NEEDED.items():
        found = getattr(layers.http, owner, None)
        # What is set in a constructor has at least been announced.
        known = {*dir(found), *getattr(found, "__annotations__", ())}
        missing += [name for name in names if name not in known]
    if missing:
        raise UnsupportedError(
            f"mitmproxy's HTTP layer lacks {', '.join(missing)}; "
            "this addon is tested with mitmproxy 11.0, 12.2 and 12.3"
        )
    originals = [getattr(module, name) for module, name in _PLACES]
    stream, server, client, server2, client2, *functions = originals
    validate_request, validate_headers, _, make_body_reader = functions

    def make_error_response(status_code: int, message: str = "") -> bytes:
        return to_last_bytes(addon.own_reply(None, status_code, message))

    def check_request(mode: Any, request: http.Request, validate: bool) -> str | None:
        problem: str | None = validate_request(mode, request, validate)
        # Reverse mode, too, is what mitmproxy calls transparent here.
        if problem is None and validate and mode is layers.http.HTTPMode.transparent:
            data = request.data
            problem = framing.request_flaw(
                data.http_version,
                data.method,
                data.path,
                data.scheme,
                data.authority,
                data.headers.fields,
            )
        return problem

    def check_headers(message: http.Message) -> None:
        validate_headers(message)
        if not isinstance(message, http.Response):
            return
        data = message.data
        if problem := framing.response_flaw(
            data.http_version, data.status_code, data.reason, data.headers.fields
        ):
            raise ValueError(problem)

    def body_reader(size: int | None) -> Any:
        return framing.ChunkedReader() if size is None else make_body_reader(size)

    replacements = [
        stream_class(stream, addon),
        server_class(server, addon),
        client_class(client, addon),
        paced_class(server2, addon),
        paced_class(client2, addon),
        check_request,
        check_headers,
        make_error_response,
        body_reader,
    ]
    for (module, name), replacement in zip(_PLACES, replacements, strict=True):
        setattr(module, name, replacement)

    def uninstall() -> None:
        for (module, name), original in zip(_PLACES, originals, strict=True):
            setattr(module, name, original)

    return uninstall
