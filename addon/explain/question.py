"""The question of `explain`: a request that was not sent, passed through the hooks' functions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mitmproxy import connection, http
from mitmproxy.proxy.mode_specs import ProxyMode

from ..engine.interface import AUTHORITY
from ..errors.replies import Problem, Reply
from ..hooks import answering, on_request
from ..protocol import bodies
from ..protocol.headers import read as read_headers
from ..routing import decision, gate, origin
from ..routing.rewrite import Origin
from ..routing.settings import Settings
from .words import Case, Explanation, explain

# RFC 9110, section 9.1
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True, slots=True)
class Question:
    """A request without a body, and its upstream."""

    method: str
    url: str
    """As the client sends it to the proxy, or only its path."""
    upstream: Origin
    known: str = ""
    """More about the upstream than in the settings, for people."""
    headers: Sequence[tuple[str, str]] = ()
    reverse: bool = True
    """Whether the proxy is in reverse mode: the client treats it as the server."""


def ask(settings: Settings, question: Question) -> Explanation:
    """Return the explanation of a request: all decisions up to the upstream.

    Raises:
        ValueError: the question is not valid.
    """
    if not _TOKEN.fullmatch(question.method):
        raise ValueError(f"{question.method!r}: expected a method such as GET")
    authority, target = split(question.url)
    flow = _flow(question, authority, target)
    host, port = question.upstream.host, question.upstream.port
    concerned = on_request.concerns_us(flow, settings)
    # Before the hooks change the request.
    applicable = on_request.applicable(flow, settings)
    route = settings.router.route(target.partition("?")[0], applicable)
    overrides = map(flow.request.headers.get, gate.METHOD_OVERRIDES)
    refused = _refusal(flow, settings, named=bool(authority)) if concerned else None
    decided = decision.of(flow)
    return explain(
        Case(
            settings=settings,
            method=question.method,
            methods=gate.methods(question.method, overrides),
            host=host,
            port=port,
            known=question.known,
            concerned=concerned,
            own=question.reverse and route.health,
            named=bool(authority),
            route=route,
            for_upstream=settings.router.applicable(host, port),
            applicable=applicable,
            graphql_fields=decided["graphql_fields"] if decided else (),
            refused=refused,
            sent=bodies.printable(flow.request.path),
        )
    )


def _refusal(flow: http.HTTPFlow, settings: Settings, *, named: bool) -> tuple[Reply, str] | None:
    """Do the same as `MlflowProxy` with a request, in the same order; return a refusal."""
    rules = settings.rules
    try:
        route = on_request.read(flow, settings)
        if route.health and on_request.is_reverse(flow):
            return None
        fields = read_headers(flow.request.headers.fields)
        if rules.forwarded.send or rules.forwarded.trusted:
            on_request.read_forwarded(flow, fields, rules)
        if rules.allowed_hosts and named:
            on_request.check_host(flow, settings)
        on_request.send_on(flow, settings, route, fields, _cut_nothing)
        if flow.request.method in origin.SAFE_METHODS and (decided := decision.of(flow)):
            on_request.check_body(flow, decided, settings)
    except answering.RefusedError as refused:
        reply = answering.for_page(flow, refused.reply, rules.origins.allowed)
        return reply, str(refused)
    return None


def _cut_nothing(_: http.HTTPFlow, problem: Problem) -> None:
    """Do nothing: there is no connection to cut."""


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
    flow.metadata[AUTHORITY] = authority
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
