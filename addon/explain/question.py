"""The question of `explain`: a request that was not sent, passed through the hooks' functions."""

from __future__ import annotations

import re
from dataclasses import replace

from mitmproxy import connection, http
from mitmproxy.proxy.mode_specs import ProxyMode

from ..hooks import answering, on_request
from ..protocol import bodies, headers
from ..routing import admission, flow_state, gate, origin
from ..routing.admission import Refused
from ..routing.flow_state import FlowState
from ..routing.rewrite import Origin
from ..routing.settings import Settings
from ..rules.model import Mount
from .words import Case, Explanation, Question, explain

# RFC 9110, section 9.1
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def ask(settings: Settings, question: Question) -> Explanation:
    """Return the explanation of a request: all decisions up to the upstream.

    Raises:
        ValueError: the question is not valid.
    """
    if not _TOKEN.fullmatch(question.method):
        raise ValueError(f"{question.method!r}: expected a method such as GET")
    authority, target = split(question.url)
    flow = _flow(question, authority, target)
    concerned = on_request.concerns_us(flow, settings)
    # Before the hooks change the request.
    applicable = on_request.applicable(flow, settings)
    route = settings.router.route(target.partition("?")[0], applicable)
    fields = headers.read(flow.request.headers.fields)
    overrides = (headers.text(fields, name) for name in gate.METHOD_OVERRIDES)
    methods = gate.methods(question.method, overrides)
    refused = _refusal(flow, settings, named=bool(authority)) if concerned else None
    return explain(
        Case(
            settings=settings,
            question=question,
            methods=methods,
            concerned=concerned,
            own=question.reverse and route.health,
            named=bool(authority),
            route=route,
            applicable=applicable,
            state=flow_state.of(flow),
            authorization=b"authorization" in fields,
            refused=refused,
            sent=bodies.printable(flow.request.path),
        )
    )


def of_mount(settings: Settings, url: str) -> Settings | None:
    """Return the settings of the mount that a question's URL is under, if it has its own upstream.

    Raises:
        ValueError: the URL is not valid.
    """
    _, target = split(url)
    return settings.own.covering(target.partition("?")[0]) if settings.own else None


def its_upstream(mount: Mount) -> Origin:
    """Return a mount's own upstream."""
    return Origin(mount.scheme, *mount.address)


def _refusal(flow: http.HTTPFlow, settings: Settings, *, named: bool) -> Refused | None:
    """Do the same as `Traffic` with a request; return a refusal."""
    state = flow_state.of(flow)
    asked = on_request.begin(flow, state, settings)
    refused = admission.admit(state, asked, named=named)
    if refused is None and not (asked.reverse and state.route and state.route.health):
        on_request.send_on(flow, state, asked, lambda *_: None)
        if asked.method in origin.SAFE_METHODS:
            refused = on_request.refusal_of_body(flow, state)
    if refused is None:
        on_request.add_credentials(flow, settings)
        return None
    reply = answering.for_page(flow, refused.reply, settings.rules.origins.allowed)
    return replace(refused, reply=reply)


def _flow(question: Question, authority: str, target: str) -> http.HTTPFlow:
    upstream = question.upstream
    request = http.Request.make(question.method, upstream.url, headers=[])
    request.path = target
    for name, value in question.headers:
        request.headers.add(name, value)
    mode = f"reverse:{upstream.url}" if question.reverse else "regular"
    client = connection.Client(
        peername=("127.0.0.1", 0),
        sockname=("127.0.0.1", 0),
        proxy_mode=ProxyMode.parse(mode),
    )
    flow = http.HTTPFlow(client, connection.Server(address=(upstream.host, upstream.port)))
    flow.request = request
    flow_state.put(flow, FlowState(authority))
    return flow


def split(url: str) -> tuple[str, str]:
    """Return the authority and the request target of a URL; a path alone has no authority.

    Raises:
        ValueError: it is neither.
    """
    if url.startswith("/"):
        return "", url
    scheme, found, rest = url.partition("://")
    authority, slash, target = rest.partition("/")
    if scheme.lower() not in ("http", "https") or not found or not authority:
        raise ValueError(f"{url!r}: expected a URL such as http://proxy:8080/path, or a path")
    return authority, slash + target or "/"


def server(text: str) -> Origin:
    """Parse an upstream as people write it: host, host:port, or a URL.

    Raises:
        ValueError: it is none of these.
    """
    scheme, found, rest = text.partition("://")
    if not found:
        scheme, rest = "https", text
    upstream = Origin.of(scheme, rest)
    if upstream is None:
        raise ValueError(f"{text!r}: expected HOST, HOST:PORT or a URL")
    return upstream
