"""A request on its way in: read the target, refuse it, rewrite it, choose streaming."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial

from mitmproxy import http
from mitmproxy.addons import proxyauth
from mitmproxy.proxy.mode_specs import ReverseMode

from ..engine.interface import AUTHORITY, SWITCHES, WHOLE
from ..errors import login, replies
from ..observe import remarks
from ..protocol import (
    framing,
    hop_by_hop,
    hosts,
    request_ids,
)
from ..protocol import target as targets
from ..protocol.headers import Fields, text
from ..routing import (
    decision,
    forwarded,
    gate,
    origin,
    streaming,
)
from ..routing.decision import FORWARDED, Decision
from ..routing.rewrite import Origin
from ..routing.routes import Route
from ..routing.settings import Settings
from ..rules.model import (
    HEALTH_PATHS,
    Endpoint,
    Operation,
    Rules,
)
from . import answering
from .answering import denied


def concerns_us(flow: http.HTTPFlow, settings: Settings) -> bool:
    """Return whether this addon handles the flow: a forward proxy sees hosts other than MLflow."""
    upstream = settings.rules.upstream
    return is_reverse(flow) or upstream.is_listed(flow.request.host, flow.request.port)


def asks_for_login(flow: http.HTTPFlow) -> bool:
    """Return whether mitmproxy's option `proxyauth` refused a request without credentials."""
    response = flow.response
    if response is None:
        return False
    asked = f'Basic realm="{proxyauth.REALM}"'
    return response.status_code == 401 and response.headers.get("www-authenticate") == asked


def read(flow: http.HTTPFlow, settings: Settings) -> Route:
    """Read the target, and begin the decision for the flow.

    Raises:
        RefusedError: nothing is served at that target, or it is ambiguous.
    """
    sent, before = flow.request.path, decision.of(flow)
    path, _, query = sent.partition("?")
    route = settings.router.route(path, applicable(flow, settings), again=before is not None)
    flow.metadata[decision.DECISION] = decided = route.decision.copy()
    decided["sent"] = sent
    if before is not None:
        decided["received"], decided["mount"] = before["received"], before["mount"]
    rules = settings.rules
    if route.target is None:
        message = f"Nothing is served here. Expected a path under {' or '.join(rules.mounts)}."
        raise denied(flow, 404, rules.errors.code(404), message, "not_mounted")
    if problem := route.problem or (query and targets.flaw(query)):
        message = f"The request target is ambiguous: it contains {problem}."
        raise denied(flow, 400, rules.errors.code(400), message, "ambiguous_target")
    return route


def check_host(flow: http.HTTPFlow, settings: Settings) -> None:
    """Raise RefusedError if the rules do not allow the host that the request names."""
    allowed = settings.rules.allowed_hosts
    if is_reverse(flow) and not hosts.is_allowed(_authority(flow), allowed):
        message = "This proxy is not addressed by that Host (see allowed_hosts)."
        raise denied(flow, 403, settings.rules.errors.code(403), message, "foreign_host")


def read_forwarded(flow: http.HTTPFlow, fields: Fields, rules: Rules) -> None:
    """Read the original client, scheme and host of a request from headers of trusted proxies."""
    found = forwarded.read(
        fields,
        peer=flow.client_conn.peername[0],
        scheme="https" if flow.client_conn.tls else "http",
        host=_authority(flow),
        trusted=rules.forwarded.trusted,
    )
    flow.metadata[FORWARDED] = asdict(found)
    flow.metadata[AUTHORITY] = found.host


def _tell_upstream(flow: http.HTTPFlow, mount: str) -> None:
    told, headers = forwarded.Forwarded(**flow.metadata[FORWARDED]), flow.request.headers
    headers.fields = told.for_upstream(headers.fields, mount)


def send_on(
    flow: http.HTTPFlow,
    settings: Settings,
    route: Route,
    fields: Fields,
    cut: Callable[[http.HTTPFlow, replies.Problem], None],
) -> None:
    """Rewrite a request and choose how its body goes.

    Args:
        flow: the flow, with the decision that `read` began.
        settings: the settings in force for it.
        route: as returned by `read`.
        fields: the request's headers.
        cut: closes the upstream's connection in the middle of the request.

    Raises:
        RefusedError: the request is not allowed, or is redirected.
    """
    rules, request = settings.rules, flow.request
    decided = flow.metadata[decision.DECISION]
    if route.bare and request.method in ("GET", "HEAD") and is_reverse(flow):
        _lead_to_page(flow, route, fields)
    if (
        decided["rule"]
        and b"origin" in fields
        and origin.is_foreign(
            request.method, text(fields, b"origin"), _authority(flow), rules.origins.allowed
        )
    ):
        message = "Requests from web pages of other sites are refused (see origins.allowed)."
        raise denied(flow, 403, rules.errors.code(403), message, "foreign_origin")
    if b"origin" in fields and _drops_origin(flow, fields, rules):
        del request.headers["origin"]
    length = _length(request, fields)
    if settings.wary:
        _check_switch(flow, decided, settings, route, length)
    if route.endpoints:
        if any(e.methods and gate.counts(request.method, e) for e in route.endpoints):
            decided.update(artifact=True, family="artifacts")
        decided["file"] = any(
            endpoint.files and gate.operation(request.method, endpoint) == "read"
            for endpoint in route.endpoints
        )
    limit = rules.limits.artifact_body if decided["artifact"] else rules.limits.api_body
    if length is not None and length > limit:
        message = replies.TOO_LARGE.sentence
        raise denied(flow, 413, rules.errors.code(413), message, "body_too_large")
    decided["names"] = names = request_ids.of(fields, flow.id)
    headers = request.headers
    if ":" in request.host:
        request.host_header = hosts.in_brackets(request.host_header or "", request.host)
    key = hop_by_hop.websocket_key(request.method, request.http_version, fields, body=length != 0)
    flow.metadata[SWITCHES] = key.decode() if key else ""
    headers.fields = hop_by_hop.pass_on(headers.fields, fields, switches=key is not None)
    headers.fields = request_ids.for_upstream(headers.fields, fields, names)
    if rules.forwarded.send:
        _tell_upstream(flow, decided["mount"])
    if route.sent != route.received:
        # With the query, if there is one.
        request.path = decided["sent"] = route.sent + decided["sent"][len(route.received) :]
    if decided["graphql_fields"]:
        flow.metadata[WHOLE] = True
        request.stream = False  # mitmproxy's options may have set it.
    elif length != 0 and flow.is_replay is None:
        request.stream = streaming.stream_request(
            length=length, artifact=decided["artifact"], threshold=rules.streaming.threshold
        )
        if request.stream and length is None:
            request.stream = _counting(limit, partial(cut, flow))


def _lead_to_page(flow: http.HTTPFlow, route: Route, fields: Fields) -> None:
    """Redirect a browser from /mlflow to /mlflow/: MLflow's UI loads its files by relative URL."""
    if login.asks_for_pages(text(fields, b"accept") or ""):
        # Relative: valid under any name and prefix that the client uses.
        place = f"{route.received.rpartition('/')[2]}/{flow.request.path[len(route.received) :]}"
        reply = replies.redirect(place, answering.request_id(flow))
        raise answering.RefusedError(reply, remarks.REDIRECT)


def _drops_origin(flow: http.HTTPFlow, fields: Fields, rules: Rules) -> bool:
    upstream = Origin.of(flow.request.scheme, flow.request.host_header or "")
    # With mitmproxy's option keep_host_header the upstream knows the public name.
    return (
        is_reverse(flow)
        and upstream == Origin(flow.request.scheme, flow.request.host.lower(), flow.request.port)
        and origin.is_dropped(
            text(fields, b"origin") or "", _authority(flow), checked=bool(rules.allowed_hosts)
        )
    )


def check_body(flow: http.HTTPFlow, decided: Decision, settings: Settings) -> None:
    """Raise RefusedError for a GraphQL document that names a field that is switched off."""
    if not decided["graphql_fields"]:
        return
    body = flow.request.raw_content or b""
    if any(gate.names_field(body, field) for field in decided["graphql_fields"]):
        raise _switched_off(flow, settings, "read")


def check_sent(flow: http.HTTPFlow, settings: Settings) -> None:
    """Judge the request as it goes upstream, after other addons may have changed it.

    Raises:
        RefusedError: it is for artifacts that are switched off.
    """
    # A replayed request may have been recorded in any mode.
    if not settings.wary or not (flow.is_replay or concerns_us(flow, settings)):
        return
    request = flow.request
    route = settings.router.route(request.path.partition("?")[0], (), again=True)
    if not route.endpoints and not route.suspected:
        return
    decided = route.decision.copy()
    length = None if request.stream else len(request.raw_content or b"")
    _check_switch(flow, decided, settings, route, length)
    check_body(flow, decided, settings)


def _check_switch(
    flow: http.HTTPFlow,
    decided: Decision,
    settings: Settings,
    route: Route,
    length: int | None,
) -> None:
    headers = flow.request.headers
    methods = gate.methods(flow.request.method, map(headers.get, gate.METHOD_OVERRIDES))

    def refused(endpoint: Endpoint) -> Operation | None:
        operations = (
            gate.operation(method, endpoint) for method in methods if gate.counts(method, endpoint)
        )
        return next((found for found in operations if found not in settings.allowed), None)

    for endpoint in route.endpoints:
        if (operation := refused(endpoint)) is None:
            continue
        # A GraphQL request is judged by its body, so that must be short enough to hold.
        if endpoint.graphql_field is None or length is None or length > 2**20:
            raise _switched_off(flow, settings, operation)
        decided["graphql_fields"] = [*decided["graphql_fields"], endpoint.graphql_field]
    if any(refused(endpoint) is not None for endpoint in route.suspected):
        message = "The path can be read as one of artifacts, which are switched off here."
        raise denied(flow, 400, settings.rules.errors.code(400), message, "ambiguous_target")


def _switched_off(
    flow: http.HTTPFlow, settings: Settings, operation: Operation
) -> answering.RefusedError:
    status = settings.rules.artifacts.disabled_status
    reply = gate.refusal(status, operation, settings.allowed, answering.request_id(flow))
    return answering.RefusedError(reply, f"artifacts disabled: {operation} is switched off")


def _counting(limit: int, cut: Callable[[replies.Problem], None]) -> Callable[[bytes], list[bytes]]:
    """Forward a body of unknown length up to a limit; then cut the request before its end."""
    left = limit

    def count(data: bytes) -> list[bytes]:
        nonlocal left
        if left >= 0:
            left -= len(data)
            if left < 0:
                cut(replies.TOO_LARGE)
        # An empty chunk would mark the end of the body for an HTTP/1 upstream.
        return [data] if data and left >= 0 else []

    return count


def applicable(flow: http.HTTPFlow, settings: Settings) -> tuple[int, ...]:
    """Return the indices of the rewrite rules whose conditions hold for a request."""
    rules = settings.router.applicable(flow.request.host, flow.request.port)
    if not settings.filters:
        return rules
    filters = settings.filters
    return tuple(index for index in rules if index not in filters or filters[index](flow))


def is_reverse(flow: http.HTTPFlow) -> bool:
    """Return whether the client sees the proxy as the server."""
    mode = flow.client_conn.proxy_mode
    # isinstance() with an abstract class is slow, and this runs often.
    return type(mode) is ReverseMode or isinstance(mode, ReverseMode)


def is_for_upstream(flow: http.HTTPFlow) -> bool:
    """Return whether a request in reverse mode is not for one of the proxy's own endpoints."""
    return is_reverse(flow) and not flow.request.path.partition("?")[0].endswith(HEALTH_PATHS)


def _authority(flow: http.HTTPFlow) -> str:
    """Return the host that the client asked for."""
    return flow.metadata.get(AUTHORITY) or flow.request.host_header or ""


def _length(request: http.Request, fields: Fields) -> int | None:
    """Return the length of the body in bytes; None if the headers do not say."""
    if b"content-length" in fields:
        length = framing.content_length(fields[b"content-length"])
        if length is not None:
            return length
    framed_by_message = request.is_http11 or request.is_http10
    return 0 if framed_by_message and b"transfer-encoding" not in fields else None
