"""Whether a request may pass: every refusal, in the order in which it counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ..errors import login, replies
from ..protocol import hosts
from ..protocol import target as targets
from ..protocol.headers import Fields, text
from ..protocol.request_ids import REQUEST_ID, request_id
from ..rules.model import Endpoint, Operation, Rules
from . import gate, operations, origin
from .flow_state import FlowState
from .routes import Route
from .settings import Settings

Sender = Literal["client", "probe", "finder"]
"""A request's sender: probes are served like clients; the finder's requests are not rewritten."""

TO_THE_PAGE = "the page of a mount ends with a slash"
"""The reason for a redirect of a browser."""

_GRAPHQL_BODY = 2**20
"""Bytes of a GraphQL request that is read, at most."""

_ID = REQUEST_ID.lower().encode()


@dataclass(slots=True, eq=False)
class Request:
    """A request in plain values."""

    method: str
    path: str
    """Path and query."""
    fields: Fields
    length: int | None
    """Bytes of the body; None if that is not known."""
    authority: str
    """The host that the client asked for."""
    reverse: bool
    """Whether the client sees the proxy as the server."""
    id: str
    """A random UUID, the id of the request if the client has sent none."""
    sender: Sender = "client"

    @property
    def shown_id(self) -> str:
        """The request id that the client sees."""
        return request_id(text(self.fields, _ID), self.id)


@dataclass(frozen=True, slots=True)
class Refused:
    """The answer to a request that is not passed on."""

    reply: replies.Reply
    why: str
    """The reason, for the log and for people."""


def no_room() -> bool:
    """Return False: there is room for one more request."""
    return False


def admit(
    state: FlowState, request: Request, *, named: bool = True, is_full: Callable[[], bool] = no_room
) -> Refused | None:
    """Return why to refuse a request, or to answer it with a redirect; None lets it pass.

    Args:
        state: after `begin`; also gets what depends on the method, and the GraphQL fields that the
            body must not contain.
        request: the request.
        named: whether the request names the host that it asks for.
        is_full: returns whether the limit for concurrent requests is reached.
    """
    settings, route = state.settings, state.route
    if settings is None or route is None:
        raise RuntimeError("the flow has no route yet")
    rules, fields = settings.rules, request.fields
    if route.target is None:
        message = (
            f"Nothing is served here. Expected a path under {' or '.join(map(str, rules.mounts))}."
        )
        return _denied(request, rules, 404, message, "not_mounted")
    if problem := route.problem or targets.flaw(request.path.partition("?")[2]):
        message = f"The request target is ambiguous: it contains {problem}."
        return _denied(request, rules, 400, message, "ambiguous_target")
    if route.health and request.reverse:
        return None  # The proxy answers by itself.
    if request.sender == "finder":
        return admit_sent(settings, request, b"")
    if request.sender == "client":
        if (
            named
            and rules.allowed_hosts
            and request.reverse
            and not hosts.is_allowed(request.authority, rules.allowed_hosts)
        ):
            message = "This proxy is not addressed by that Host (see allowed_hosts)."
            return _denied(request, rules, 403, message, "foreign_host")
        if is_full():
            message = "This proxy has reached its limit for concurrent requests. Please try again."
            return _denied(request, rules, 503, message, "too_many_requests")
    if (
        route.bare
        and request.reverse
        and request.method in ("GET", "HEAD")
        and login.asks_for_pages(text(fields, b"accept") or "")
    ):
        return _to_the_page(route, request)
    if (
        route.rule
        and b"origin" in fields
        and origin.is_foreign(
            request.method, text(fields, b"origin"), request.authority, rules.origins.allowed
        )
    ):
        message = "Requests from web pages of other sites are refused (see origins.allowed)."
        return _denied(request, rules, 403, message, "foreign_origin")
    if settings.wary:
        refused, state.graphql_fields = _switch(settings, route, request)
        if refused := refused or _operation(settings, route, request):
            return refused
    if route.endpoints:
        _classify(state, route, request.method)
    if request.length and request.length > body_limit(state, rules):
        message = replies.TOO_LARGE.sentence
        return _denied(request, rules, 413, message, "body_too_large")
    return None


def admit_body(state: FlowState, request: Request, body: bytes) -> Refused | None:
    """Return why to refuse a GraphQL request: its body names a field that is switched off."""
    if state.settings is None:
        raise RuntimeError("the flow has no settings yet")
    return _body(state.settings, request, state.graphql_fields, body)


def admit_sent(settings: Settings, request: Request, body: bytes) -> Refused | None:
    """Return why to refuse a request in the form in which it goes upstream.

    Other addons may have changed it since it was admitted.

    Args:
        settings: the settings in force.
        request: as it goes upstream.
        body: its body, b"" for one that is streamed.
    """
    if not settings.wary:
        return None
    route = settings.router.route(request.path.partition("?")[0], (), again=True)
    if not (route.endpoints or route.suspected or route.refused):
        return None
    refused, fields = _switch(settings, route, request)
    refused = refused or _operation(settings, route, request)
    return refused or _body(settings, request, fields, body)


def too_much_held(request: Request, rules: Rules) -> Refused:
    """Return the refusal of a request whose bodies there is no room to hold."""
    message = replies.TOO_MUCH_HELD.sentence
    return _denied(request, rules, 503, message, "too_much_held")


def body_limit(state: FlowState, rules: Rules) -> int:
    """Return the limit for the body of a request, in bytes."""
    return rules.limits.artifact_body if state.artifact else rules.limits.api_body


def _classify(state: FlowState, route: Route, method: str) -> None:
    """Note whether a request moves artifacts, where that depends on the method."""
    if any(e.methods and gate.counts(method, e) for e in route.endpoints):
        state.artifact, state.family = True, "artifacts"
    state.file = any(
        endpoint.files and gate.operation(method, endpoint) == "read"
        for endpoint in route.endpoints
    )


def _denied(
    request: Request, rules: Rules, status: int, message: str, why: replies.Refusal
) -> Refused:
    code = rules.errors.code(status)
    kind = "http_request_denied"
    return Refused(replies.own_error(status, code, message, kind, request.shown_id, why), message)


def _to_the_page(route: Route, request: Request) -> Refused:
    """Redirect a browser from /mlflow to /mlflow/: MLflow's UI loads its files by relative URL."""
    # Relative: valid under any name and prefix that the client uses.
    place = f"{route.received.rpartition('/')[2]}/{request.path[len(route.received) :]}"
    return Refused(replies.redirect(place, request.shown_id), TO_THE_PAGE)


def _switch(
    settings: Settings, route: Route, request: Request
) -> tuple[Refused | None, tuple[str, ...]]:
    """Apply the artifact switch; return a refusal, and the GraphQL fields to look for otherwise."""
    methods = _methods(request)

    def refused(endpoint: Endpoint) -> Operation | None:
        operations = (
            gate.operation(method, endpoint) for method in methods if gate.counts(method, endpoint)
        )
        return next((found for found in operations if found not in settings.allowed), None)

    fields: list[str] = []
    length = request.length
    for endpoint in route.endpoints:
        if (operation := refused(endpoint)) is None:
            continue
        # A GraphQL request is judged by its body, so that must be short enough to hold.
        if endpoint.graphql_field is None or length is None or length > _GRAPHQL_BODY:
            return _switched_off(settings, request, operation), ()
        fields.append(endpoint.graphql_field)
    if any(refused(endpoint) is not None for endpoint in route.suspected):
        message = "The path can be read as one of artifacts, which are switched off here."
        return _denied(request, settings.rules, 400, message, "ambiguous_target"), ()
    return None, tuple(fields)


def _operation(settings: Settings, route: Route, request: Request) -> Refused | None:
    """Return why to refuse an operation beyond artifacts."""
    if not route.refused:
        return None
    entry = operations.refusing(route.refused, _methods(request))
    if entry is None:
        return None
    denied = _denied(request, settings.rules, entry.status, entry.message, "operation_refused")
    return Refused(denied.reply, f"operation refused: {entry.name}")


def _methods(request: Request) -> list[str]:
    overrides = (text(request.fields, name) for name in gate.METHOD_OVERRIDES)
    return gate.methods(request.method, overrides)


def _body(
    settings: Settings, request: Request, fields: tuple[str, ...], body: bytes
) -> Refused | None:
    if any(gate.names_field(body, field) for field in fields):
        return _switched_off(settings, request, "read")
    return None


def _switched_off(settings: Settings, request: Request, operation: Operation) -> Refused:
    status = settings.rules.artifacts.disabled_status
    reply = gate.refusal(status, operation, settings.allowed, request.shown_id)
    return Refused(reply, f"artifacts disabled: {operation} is switched off")
