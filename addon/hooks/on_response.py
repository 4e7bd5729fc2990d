"""A response on its way out: map redirects back, convert errors and pages, stream the rest."""

from __future__ import annotations

from mitmproxy import http
from mitmproxy.net.http import status_codes
from mitmproxy.proxy.mode_specs import ReverseMode

from ..errors import login
from ..errors import upstream as errors
from ..protocol import bodies, framing, hop_by_hop, request_ids, to_https
from ..protocol.headers import Fields, read, text
from ..routing import flow_state, places, rewrite, streaming
from ..routing.flow_state import Conversion, FlowState
from ..routing.settings import Settings
from ..rules.model import Rules
from . import answering


def judge_head(flow: http.HTTPFlow, state: FlowState, settings: Settings) -> None:
    """Map redirects back; hold a body that may have to be converted, stream a large one."""
    response = flow.response
    if (route := state.route) is None or state.answered or response is None:
        return
    if answering.is_by_addon(flow, state):
        state.answered = True
        return
    state.upstream_status = status = response.status_code
    rules = settings.rules
    headers = response.headers
    fields = read(headers.fields)
    content_type = text(fields, b"content-type") or ""
    length = framing.announced(fields)
    error = status >= 400 and errors.may_need_conversion(status, content_type)
    labelled_page = login.is_html_or_unknown(content_type)
    if (labelled_page or b"location" in fields) and state.api and rules.errors.login.enabled:
        # Nearly all answers are JSON without a redirect, and skip this.
        state.login = _login_place(flow, response, fields, state, rules)
        state.page = (
            labelled_page
            and flow.request.method != "HEAD"
            and login.may_be_page(
                status=status,
                content_type=content_type,
                disposition=text(fields, b"content-disposition") or "",
                file=state.file,
                path=route.paths[0],
                query=flow.request.path.partition("?")[2],
                accept=flow.request.headers.get("accept", ""),
            )
        )
    if b"location" in fields and isinstance(flow.client_conn.proxy_mode, ReverseMode):
        state.secure = to_https.secure_url(
            status,
            text(fields, b"location") or "",
            url=f"{_upstream(flow.request).url}{state.sent}",
            names=_names(flow),
        )
    headers.fields = hop_by_hop.pass_on(headers.fields, fields, switches=status == 101)
    if (names := state.names) is not None:
        headers.fields = request_ids.for_client(headers.fields, fields, names)
    if places.are_in(fields):
        headers.fields = _places(flow, state, rules).headers(headers.fields)
    if state.secure or (state.api and (error or state.login or state.page)):
        response.stream = False
        short = length is not None and length <= rules.streaming.threshold
        # A success that would otherwise stream is judged by its beginning.
        at_once = state.page and not short
        state.hold = 0 if at_once else bodies.HELD_LIMIT
    elif status != 101:
        response.stream = streaming.stream_response(
            length=length,
            content_type=content_type,
            artifact=state.artifact,
            threshold=rules.streaming.threshold,
        )


def may_pass(flow: http.HTTPFlow, begin: bytes) -> bool | None:
    """Return whether a held body passes after all; None while that is not clear.

    Args:
        flow: the flow, with the head of the response.
        begin: the body so far, longer than `hold` says.
    """
    state, response = flow_state.of(flow), flow.response
    if state.route is None or response is None:
        return True
    if state.login or state.secure:
        return False
    answer = _answer_of(response, begin, whole=False)
    if state.page:
        return login.is_no_page(answer.content_type, answer.encoding, begin)
    return errors.is_long_native(answer)


def judge_body(
    flow: http.HTTPFlow, state: FlowState, settings: Settings, *, hint: str = ""
) -> bool:
    """Convert errors and login pages.

    Args:
        flow: the flow, with its response.
        state: its state.
        settings: the settings in force for it.
        hint: why the upstream may not know the route, "" for no hint.

    Returns:
        Whether the upstream probably does not know the route.
    """
    response = flow.response
    if (route := state.route) is None or response is None:
        return False
    if state.hold is None or state.answered or response.stream:
        return False
    answer = _answer_of(response, response.raw_content or b"", whole=not state.dropped)
    rules, head = settings.rules.errors, flow.request.method == "HEAD"
    added = state.authorization != b""
    converted: errors.Converted | None
    if state.secure:
        del response.headers["location"]
        converted = errors.Converted(to_https.STATUS, to_https.error(state.secure))
    elif state.login:
        del response.headers["location"]
        converted = login.convert_redirect(
            answer.status, state.login, rules.login, file=state.file, added=added
        )
    elif state.page:
        converted = login.convert_page(answer, state.received, rules.login, added=added)
    elif head and bodies.is_json(answer.content_type):
        converted = None  # The answer to a GET may be MLflow's own error.
    else:
        asked = errors.Asked(
            flow.request.method, state.received, route.paths, state.file, hint, added
        )
        converted = errors.convert(asked, answer, rules)
    if converted is not None:
        state.converted = _kind(state, answer.content_type)
        state.original = answer
        _convert(response, converted, head=head)
    return converted is not None and answer.status in (404, 405) and not state.file


def _kind(state: FlowState, content_type: str) -> Conversion:
    if state.secure:
        return "https_redirect"
    if state.login:
        return "login_redirect"
    if state.page:
        return "login_page"
    if bodies.is_html(content_type):
        return "html"
    return "json" if bodies.is_json(content_type) else "other"


def _answer_of(response: http.Response, body: bytes, *, whole: bool) -> errors.Answer:
    headers = response.headers
    return errors.Answer(
        status=response.status_code,
        content_type=headers.get("content-type", ""),
        encoding=headers.get("content-encoding", ""),
        body=body,
        whole=whole,
        request_id=errors.upstream_request_id(headers),
    )


def _names(flow: http.HTTPFlow) -> list[str]:
    """Return names that an upstream may use for itself besides its address."""
    named = rewrite.Origin.of("http", flow.request.host_header or "")
    return [named.host] if named else []


def _upstream(request: http.Request) -> rewrite.Origin:
    return rewrite.Origin(request.scheme, request.host.lower(), request.port)


def _places(flow: http.HTTPFlow, state: FlowState, rules: Rules) -> places.Places:
    """Return the mapping from the upstream's URLs to those that the client sees."""
    told = state.forwarded
    scheme = told.scheme if told else "https" if flow.client_conn.tls else "http"
    return places.Places(
        upstream=_upstream(flow.request),
        scheme=scheme,
        authority=state.authority,
        mount=f"{told.prefix if told else ''}{state.mount}",
        base_path=rules.upstream.base_path,
    )


def _login_place(
    flow: http.HTTPFlow, response: http.Response, fields: Fields, state: FlowState, rules: Rules
) -> str | None:
    location = text(fields, b"location")
    if (
        location is None
        or response.status_code not in to_https.REDIRECTS
        or login.asks_for_pages(flow.request.headers.get("accept", ""))
    ):
        return None
    place = login.redirect_place(
        location,
        url=_upstream(flow.request).url + state.sent,
        base_path=rules.upstream.base_path,
        stays=rules.artifacts.has_files if state.file else rules.is_api_path,
        file=state.file,
        rules=rules.errors.login,
    )
    return place and _places(flow, state, rules).url(place)


def _convert(response: http.Response, converted: errors.Converted, *, head: bool) -> None:
    """Replace an upstream's status and body by a JSON error (only its headers for HEAD).

    No cache may keep it: the error is for this client and this request only.
    """
    if response.status_code != converted.status:
        response.status_code = converted.status
        response.reason = status_codes.RESPONSES.get(converted.status, "")
    headers = response.headers
    for name in {name.lower() for name in headers}:
        if errors.concerns_caches(name):
            del headers[name]
    headers["Cache-Control"] = "no-store"
    if converted.status == 401:
        headers.setdefault("WWW-Authenticate", errors.CHALLENGE)
    if converted.body is None:
        return
    for name in errors.ENTITY_HEADERS:
        # In a 416, Content-Range says how long the file is (RFC 9110, section 15.5.17).
        if converted.status != 416 or name != "content-range":
            headers.pop(name, None)
    headers["Content-Type"] = "application/json"
    response.trailers = None
    if not head:
        response.raw_content = converted.body
        headers["Content-Length"] = str(len(converted.body))
