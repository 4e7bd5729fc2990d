"""A mitmproxy script that makes the addon fail: `X-Fault: rewrite.rewrite` names the function.

It is loaded before the addon, so that its hooks run first: the function that the header names
raises an exception while that flow is handled. All other calls reach the addon's own functions.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from mitmproxy import http

FUNCTIONS = [
    "protocol.target.read",
    "protocol.target.ambiguity",
    "routing.gate.artifact_endpoints",
    "routing.gate.suspected_endpoints",
    "routing.gate.refusal",
    "routing.operations.concerned",
    "routing.operations.refusing",
    "routing.rewrite.rewrite",
    "routing.origin.is_foreign",
    "routing.streaming.stream_request",
    "errors.upstream.may_need_conversion",
    "errors.login.may_be_page",
    "errors.login.redirect_place",
    "routing.rewrite.map_location",
    "routing.streaming.stream_response",
    "errors.upstream.convert",
    "errors.upstream.is_long_native",
    "errors.login.convert_page",
    "errors.login.is_no_page",
    "errors.replies.explain",
]

armed = ""
asked: object = None


def failing(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        if armed == name:
            # The message holds everything that a log line could leak.
            raise RuntimeError(f"injected into {name}: {arguments!r} {named!r} {asked!r}")
        return function(*arguments, **named)

    return call


def load(_: object) -> None:
    for name in FUNCTIONS:
        module_name, _, function = name.rpartition(".")
        module = importlib.import_module(f"addon.{module_name}")
        setattr(module, function, failing(name, getattr(module, function)))


def arm(flow: http.HTTPFlow) -> None:
    global armed, asked
    armed, asked = flow.request.headers.get("X-Fault", ""), flow.request.headers.fields


# mitmproxy's own work between two hooks belongs to the flow of the last hook.
requestheaders = request = responseheaders = response = error = arm
