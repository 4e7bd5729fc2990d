"""A request on its way in: read the target, refuse it, rewrite it, choose streaming."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from mitmproxy import http
from mitmproxy.addons import proxyauth
from mitmproxy.proxy.mode_specs import ReverseMode

from ..errors import replies
from ..protocol import framing, headers, hop_by_hop, hosts, request_ids
from ..protocol.headers import Fields, text
from ..routing import admission, flow_state, forwarded, origin, streaming
from ..routing.admission import Refused, Request, Sender
from ..routing.flow_state import METADATA, REGISTRY_OF, FlowState
from ..routing.mounts import OwnMounts
from ..routing.rewrite import Origin
from ..routing.settings import Settings
from ..rules.model import HEALTH_PATHS, Mount, Rules


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


def begin(
    flow: http.HTTPFlow, state: FlowState, settings: Settings, sender: Sender = "client"
) -> Request:
    """Begin the state of a request, and return it in plain values."""
    request = flow.request
    fields = headers.read(request.headers.fields)
    target = request.path
    # A flow that is sent again, perhaps as a copy or from a file.
    before = flow.metadata.get(METADATA)
    path = target.partition("?")[0]
    edited = before is not None and flow.is_replay and before.get("sent", target) != target
    # mitmweb shows paths with their mounts (see `mitmweb.path_column`), so a person edits them.
    kept = before is not None and not (edited and _is_below(before["mount"], path))
    # The finder names paths of the upstream.
    again = kept or sender == "finder"
    route = settings.router.route(path, applicable(flow, settings), again=again)
    state.begin(route, settings, target)
    if before is not None:
        if not edited:
            state.received = before["received"]
        if again:
            state.mount = before["mount"]
        state.authority = state.authority or before.get("authority", "")
    rules = settings.rules
    wanted = rules.forwarded.send or rules.forwarded.trusted
    if wanted and state.forwarded is None and sender != "finder":
        _read_forwarded(flow, state, fields, rules)
    flow.metadata[METADATA] = {
        "received": state.received,
        "mount": state.mount,
        "authority": state.authority,
    }
    if settings.mount is not None:
        flow.metadata[METADATA][REGISTRY_OF] = settings.mount.path
    authority, reverse = state.authority or request.host_header or "", is_reverse(flow)
    length = _length(request, fields)
    return Request(request.method, target, fields, length, authority, reverse, flow.id, sender)


def _is_below(mount: str, path: str) -> bool:
    return mount != "" and f"{path}/".startswith(f"{mount}/")


def send_to(flow: http.HTTPFlow, mount: Mount, *, keeps_host: bool) -> None:
    """Send a request to a mount's own upstream, in place of that of the command line.

    The engine opens a connection to the address in the request. mitmproxy writes the registry's
    name into Host.

    Args:
        flow: the flow, not yet on its way.
        mount: the mount.
        keeps_host: mitmproxy's option keep_host_header.
    """
    request = flow.request
    name = request.host_header
    request.scheme = mount.scheme
    request.host, request.port = mount.address
    if keeps_host:
        request.host_header = name


def as_it_is(flow: http.HTTPFlow, length: int | None) -> Request:
    """Return a request in plain values; `length` is that of its body, None if it is not known."""
    request = flow.request
    fields = headers.read(request.headers.fields)
    authority = flow_state.of(flow).authority or request.host_header or ""
    return Request(
        request.method, request.path, fields, length, authority, is_reverse(flow), flow.id
    )


def _read_forwarded(flow: http.HTTPFlow, state: FlowState, fields: Fields, rules: Rules) -> None:
    """Read the original client, scheme and host of a request from headers of trusted proxies."""
    state.forwarded = forwarded.read(
        fields,
        peer=flow.client_conn.peername[0],
        scheme="https" if flow.client_conn.tls else "http",
        host=state.authority or flow.request.host_header or "",
        trusted=rules.forwarded.trusted,
    )
    state.authority = state.forwarded.host


def send_on(
    flow: http.HTTPFlow,
    state: FlowState,
    asked: Request,
    cut: Callable[[http.HTTPFlow, replies.Problem], None],
) -> None:
    """Rewrite a request that is admitted, and choose how its body goes.

    Args:
        flow: the flow.
        state: its state.
        asked: the request as it came.
        cut: closes the upstream's connection in the middle of the request.
    """
    settings, route = state.settings, state.route
    if settings is None or route is None:
        raise RuntimeError("the flow has no route yet")
    rules, request, fields, length = settings.rules, flow.request, asked.fields, asked.length
    if b"origin" in fields and _drops_origin(flow, asked, rules):
        del request.headers["origin"]
    state.names = names = request_ids.of(fields, flow.id)
    if ":" in request.host:
        request.host_header = hosts.in_brackets(request.host_header or "", request.host)
    key = hop_by_hop.websocket_key(asked.method, request.http_version, fields, body=length != 0)
    state.websocket_key = key or b""
    pairs = hop_by_hop.pass_on(request.headers.fields, fields, switches=key is not None)
    pairs = request_ids.for_upstream(pairs, fields, names)
    if rules.forwarded.send and state.forwarded is not None:
        pairs = state.forwarded.for_upstream(pairs, state.mount)
    request.headers.fields = pairs
    if route.sent != route.received:
        # With the query, if there is one.
        request.path = state.sent = route.sent + state.sent[len(route.received) :]
    if state.graphql_fields:
        state.whole = True
        request.stream = False  # mitmproxy's options may have set it.
    elif length != 0 and flow.is_replay is None:
        request.stream = streaming.stream_request(
            length=length, artifact=state.artifact, threshold=rules.streaming.threshold
        )
        if request.stream and length is None:
            request.stream = _counting(admission.body_limit(state, rules), partial(cut, flow))


def add_credentials(flow: http.HTTPFlow, settings: Settings) -> None:
    """Choose the credentials that the proxy adds to a request in its final form."""
    if not settings.rules.upstream.credentials:
        return
    state, request = flow_state.of(flow), flow.request
    state.authorization = settings.credentials.to_add(
        request.host,
        request.port,
        method=request.method,
        fields=headers.read(request.headers.fields),
        authority=state.authority,
        origins=settings.rules.origins.allowed,
    )


def _drops_origin(flow: http.HTTPFlow, asked: Request, rules: Rules) -> bool:
    upstream = Origin.of(flow.request.scheme, flow.request.host_header or "")
    # With mitmproxy's option keep_host_header the upstream knows the public name.
    return (
        asked.reverse
        and upstream == Origin(flow.request.scheme, flow.request.host.lower(), flow.request.port)
        and origin.is_dropped(
            text(asked.fields, b"origin") or "",
            asked.authority,
            checked=bool(rules.allowed_hosts),
        )
    )


def refusal_of_body(flow: http.HTTPFlow, state: FlowState) -> Refused | None:
    """Return why to refuse a request whose whole body has been read."""
    if not state.graphql_fields:
        return None
    body = flow.request.raw_content or b""
    return admission.admit_body(state, as_it_is(flow, len(body)), body)


def refusal_of_sent(flow: http.HTTPFlow, settings: Settings) -> Refused | None:
    """Return why to refuse a request in its final form, changed by other addons perhaps."""
    # A replayed request may have been recorded in any mode.
    if not settings.wary or not (flow.is_replay or concerns_us(flow, settings)):
        return None
    request = flow.request
    body = b"" if request.stream else request.raw_content or b""
    asked = as_it_is(flow, None if request.stream else len(body))
    return admission.admit_sent(settings, asked, body)


def refusal_of_moved(flow: http.HTTPFlow, settings: Settings, own: OwnMounts) -> Refused | None:
    """Return why to refuse a request that another addon sends to the registry of another mount.

    Args:
        flow: the flow, with the request in its final form.
        settings: the settings by which it was admitted.
        own: the mounts with their own upstreams.
    """
    mount, mode = settings.mount, flow.client_conn.proxy_mode
    address = flow.request.host, flow.request.port
    if address == (mount.address if mount else getattr(mode, "address", None)):
        return None
    there = (other for other in own if other.mount and other.mount.address == address)
    refused = (refusal_of_sent(flow, other) for other in there)
    return next((each for each in refused if each is not None), None)


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


def _length(request: http.Request, fields: Fields) -> int | None:
    """Return the length of the body in bytes; None if the headers do not say."""
    if b"content-length" in fields:
        length = framing.content_length(fields[b"content-length"])
        if length is not None:
            return length
    framed_by_message = request.is_http11 or request.is_http10
    return 0 if framed_by_message and b"transfer-encoding" not in fields else None
