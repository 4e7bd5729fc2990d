"""The adapter: mitmproxy's hooks on one side, pure functions over plain values on the other.

The way of a request: read the target, refuse it or answer it, rewrite it, choose streaming; all
in `requestheaders`, because a streamed body is on its way upstream before `request` runs. What
was decided stands in `flow.metadata[DECISION]`, and every later hook asks only that.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypedDict, cast
from weakref import WeakKeyDictionary

from mitmproxy import ctx, exceptions, http
from mitmproxy.addonmanager import Loader
from mitmproxy.connection import Client
from mitmproxy.net.http import status_codes
from mitmproxy.proxy.mode_specs import ReverseMode
from mitmproxy.proxy.server_hooks import ServerConnectionHookData
from mitmproxy.tls import TlsData

from . import (
    bodies,
    errors,
    gate,
    health_service,
    hosts,
    local_replies,
    login,
    origin,
    reload,
    replies,
    rewrite,
    settings,
    streaming,
    target,
    time_limits,
    wide_reads,
)
from .rules import (
    HEALTH_PATHS,
    OPERATIONS,
    Endpoint,
    Health,
    Operation,
    RewriteRule,
    Rules,
)
from .rules_file import DEFAULT_PATH, RulesError
from .settings import Settings

logger = logging.getLogger(__name__)

DECISION = "mlflow"
"""Key in `flow.metadata`."""


STALE = "stale: the last change was refused, see the log"
"""What /readyz says of the rules then."""

FAILED = "mlflow_failed"
"""Key in `flow.metadata`: the request id of a flow that an exception of ours has ended."""


class Decision(TypedDict):
    """What was decided for a flow: plain values, because mitmproxy writes them to flow files."""

    received: str
    """Path as the client sent it, without the query."""
    sent: str
    """Path and query that go upstream."""
    mount: str
    rule: str | None
    """Name of the rewrite rule that changed the path."""
    paths: list[str]
    """The path as a server reads it, here and where it goes if a rule has changed it."""
    api: bool
    """Whether errors have to be JSON."""
    artifact: bool
    """Whether the bodies are artifacts."""
    file: bool
    """Whether the answer is the bytes of an artifact, which may be HTML."""
    answered: bool
    """Whether the proxy answered by itself."""
    graphql_fields: list[str]
    """The fields that the body must not name."""
    page: bool
    """Whether the answer may be a page that nobody asked for."""
    login: str | None
    """The place of the login page that the upstream redirects to."""


class MlflowProxy:
    """The addon."""

    def __init__(self) -> None:
        self.settings: Settings | None = None
        """What is in force for new flows."""
        self.health = health_service.HealthService()
        self.time_limits = time_limits.TimeLimits()
        self._begun: WeakKeyDictionary[http.HTTPFlow, Settings] = WeakKeyDictionary()
        """What was in force when a flow began: no flow sees half of a change."""
        self._active: set[str] = set()
        """Ids of the flows that are being served."""
        self._signature: reload.Signature = None
        self._watch: asyncio.Task[None] | None = None
        self._uninstall: Callable[[], None] | None = None

    def load(self, loader: Loader) -> None:
        """Register the options and take over mitmproxy's own answers.

        mitmproxy connects upstream as soon as a client does, by default. When that fails, the
        client gets an empty reply before any hook runs; so connections wait for a request.
        """
        loader.add_option(
            "mlflow_rules", str, str(DEFAULT_PATH), "Path of the rules file of the MLflow proxy."
        )
        loader.add_option(
            "mlflow_serve_artifacts",
            str,
            "",
            "Serve artifacts (true or false). Overrides the environment variable "
            "MLFLOW_SERVE_ARTIFACTS and the rules; empty leaves it to them.",
        )
        self._uninstall = local_replies.install(self.own_reply, self.let_go, self._head_limit)
        wide_reads.keep_buffers()
        # Before the first listener opens; a bare test context has no such option.
        if "connection_strategy" in ctx.options:
            # Setting confdir, to what it is, makes mitmproxy read its certificates now. It would
            # do so after the listeners are open, and a request in between ends it with an error
            # (see the FIXME in mitmproxy/addons/tlsconfig.py, `running`).
            ctx.options.update(connection_strategy="lazy", confdir=ctx.options.confdir)

    def configure(self, updated: set[str]) -> None:
        """Read the rules when an option of ours has changed."""
        if not updated & {"mlflow_rules", "mlflow_serve_artifacts"}:
            return
        self._signature = reload.signature(_rules_path())
        try:
            self.settings = settings.read(*_sources())
        except RulesError as error:
            if self.settings is not None:
                raise exceptions.OptionsError(str(error)) from None  # The old rules stay.
            # At start a logged error ends mitmproxy with exit code 1, without a traceback.
            # Should it live on, `_decide` refuses every request.
            logger.error("%s", error)

    async def _reload(self) -> None:
        """Read the rules again; those in force stay if that fails."""
        try:
            self.settings = await asyncio.to_thread(settings.read, *_sources())
        except RulesError as error:
            self.health.rules = STALE
            logger.error("the old rules stay in force: %s", error)
        except Exception:
            self.health.rules = STALE
            logger.exception("the old rules stay in force")
        else:
            self.health.rules = "current"
            logger.warning("the rules were read again: %s", _rules_path())

    def running(self) -> None:
        """Watch the rules; say so when everybody may address the proxy by any name."""
        self._watch = asyncio.create_task(reload.watch(_rules_path, self._signature, self._reload))
        proxyserver = ctx.master.addons.get("proxyserver")
        addresses = [address[0] for address in proxyserver.listen_addrs()] if proxyserver else []
        open_to = [host for host in addresses if not _is_loopback(host)]
        if open_to and self.settings is not None and not self.settings.rules.allowed_hosts:
            logger.warning(
                "listening on %s without allowed_hosts in the rules: every Host is served",
                ", ".join(sorted(set(open_to))),
            )

    def done(self) -> None:
        """Give mitmproxy its own answers back."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if self._uninstall is not None:
            self._uninstall()
            self._uninstall = None

    def client_connected(self, client: Client) -> None:
        """Read from the client in large portions."""
        proxyserver = ctx.master.addons.get("proxyserver")
        wide_reads.widen(proxyserver, client, client)
        self.time_limits.connections = proxyserver.connections

    def client_disconnected(self, client: Client) -> None:
        """Nobody will ask any more."""
        self.time_limits.forget(client)

    def server_connect(self, data: ServerConnectionHookData) -> None:
        """Limit the time for a connection attempt."""
        if self.settings is not None:
            self.time_limits.connecting(data.client, data.server, self.settings.rules.upstream)

    def server_connected(self, data: ServerConnectionHookData) -> None:
        """Read from the upstream in large portions."""
        wide_reads.widen(ctx.master.addons.get("proxyserver"), data.client, data.server)
        if not data.server.tls:
            self.time_limits.stop(data.server.id)

    def server_connect_error(self, data: ServerConnectionHookData) -> None:
        """There is nothing to wait for any more."""
        self.time_limits.stop(data.server.id)

    def tls_established_server(self, data: TlsData) -> None:
        """The connection is made with all that belongs to it."""
        self.time_limits.stop(data.conn.id)

    tls_failed_server = tls_established_server

    def error(self, flow: http.HTTPFlow) -> None:
        """A flow has ended without a response."""
        self._ended(flow)

    def requestheaders(self, flow: http.HTTPFlow) -> Coroutine[Any, Any, None] | None:
        """Decide; a coroutine for health requests, which mitmproxy awaits for this flow alone."""
        try:
            return self._decide(flow)
        except Exception:
            self._fail_closed(flow)
            return None

    def request(self, flow: http.HTTPFlow) -> Coroutine[Any, Any, None] | None:
        """Decide for a flow that did not pass `requestheaders`; look into GraphQL bodies."""
        if flow.response is not None:
            return None  # Somebody has answered already.
        try:
            decision = _decision(flow)
            later = None
            if decision is None or decision["sent"] != flow.request.path or flow.is_replay:
                later = self._decide(flow)
                decision = _decision(flow)
            in_force = self._begun.get(flow)
            if decision is None or in_force is None:
                return later
            body = flow.request.raw_content or b""
            if any(gate.names_field(body, field) for field in decision["graphql_fields"]):
                self._refuse(flow, decision, in_force, "read")
            if flow.response is None:
                self.time_limits.sent(flow, in_force.rules.upstream)
            return later
        except Exception:
            self._fail_closed(flow)
            return None

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Map redirects back; hold what may have to be converted, stream what is large."""
        try:
            if FAILED not in flow.metadata:
                self._judge_head(flow)
            if (in_force := self._begun.get(flow)) is not None:
                self.time_limits.receiving(flow, in_force.rules.upstream)
        except Exception:
            self._fail_closed(flow)

    def response(self, flow: http.HTTPFlow) -> None:
        """Convert errors and login pages."""
        self._ended(flow)
        try:
            if request_id := flow.metadata.get(FAILED):
                # What has arrived since has taken the place of our answer.
                reply = _failure(request_id)
                flow.response = local_replies.to_response(reply, flow.request.method)
            else:
                self._judge_body(flow)
        except Exception:
            self._fail_closed(flow)

    def _ended(self, flow: http.HTTPFlow) -> None:
        self.time_limits.stop(flow.id)
        self._active.discard(flow.id)

    def let_go(self, flow: http.HTTPFlow, begin: bytes) -> bool | None:
        """Tell whether a held body passes after all; None while that is not clear.

        Args:
            flow: the flow, with the head of the response.
            begin: the body so far, longer than `local_replies.HOLD` says.
        """
        try:
            return self._may_pass(flow, begin)
        except Exception:
            self._fail_closed(flow)
            return False

    def own_reply(self, flow: http.HTTPFlow | None, status: int, message: str) -> replies.Reply:
        """Word an answer that mitmproxy makes by itself (see `local_replies`)."""
        try:
            return self._word(flow, status, message)
        except Exception:
            return _failure(_log_exception(flow))

    def _judge_head(self, flow: http.HTTPFlow) -> None:
        decision, response, in_force = _decision(flow), flow.response, self._begun.get(flow)
        if decision is None or decision["answered"] or response is None or in_force is None:
            return
        for mark in (local_replies.HOLD, local_replies.DROPPED):
            flow.metadata.pop(mark, None)  # Of a flow that is sent again.
        rules = in_force.rules
        content_type = response.headers.get("content-type", "")
        length = _response_length(response)
        error = errors.may_need_conversion(response.status_code, content_type)
        if decision["api"] and rules.errors.login.enabled:
            decision["login"] = _login_place(flow, response, decision, rules)
            decision["page"] = flow.request.method != "HEAD" and login.may_be_page(
                status=response.status_code,
                content_type=content_type,
                disposition=response.headers.get("content-disposition", ""),
                file=decision["file"],
                path=decision["paths"][0],
                query=flow.request.path.partition("?")[2],
                accept=flow.request.headers.get("accept", ""),
            )
        for name in ("location", "content-location"):
            if (value := response.headers.get(name)) is not None:
                response.headers[name] = _map_location(flow, value, decision, rules)
        if decision["api"] and (error or decision["login"] or decision["page"]):
            response.stream = False
            short = length is not None and length <= rules.streaming.threshold
            # Of a success that would stream, the beginning has to tell.
            at_once = decision["page"] and not short
            flow.metadata[local_replies.HOLD] = 0 if at_once else bodies.HELD_LIMIT
        elif response.status_code != 101:
            response.stream = streaming.stream_response(
                length=length,
                content_type=content_type,
                artifact=decision["artifact"],
                threshold=rules.streaming.threshold,
            )

    def _may_pass(self, flow: http.HTTPFlow, begin: bytes) -> bool | None:
        decision, response = _decision(flow), flow.response
        if decision is None or response is None:
            return True
        answer = _answer_of(response, begin, whole=False)
        if decision["login"]:
            return False
        if decision["page"]:
            return login.is_no_page(answer.content_type, answer.encoding, begin)
        return errors.is_long_native(answer)

    def _judge_body(self, flow: http.HTTPFlow) -> None:
        decision, response, in_force = _decision(flow), flow.response, self._begun.get(flow)
        if (
            decision is None
            or decision["answered"]
            or local_replies.HOLD not in flow.metadata
            or response is None
            or response.stream
            or in_force is None
        ):
            return
        answer = _answer_of(
            response,
            response.raw_content or b"",
            whole=local_replies.DROPPED not in flow.metadata,
        )
        rules, head = in_force.rules.errors, flow.request.method == "HEAD"
        if decision["login"]:
            del response.headers["location"]
            converted: errors.Converted | None = login.convert_redirect(
                answer.status, decision["login"], rules.login
            )
        elif decision["page"]:
            converted = login.convert_page(answer, decision["received"], rules.login)
        elif head and bodies.is_json(answer.content_type):
            converted = None  # What it describes may be MLflow's own.
        else:
            asked = errors.Asked(
                flow.request.method, decision["received"], decision["paths"], decision["file"]
            )
            converted = errors.convert(asked, answer, rules)
        if converted is not None:
            _convert(response, converted, head=head)

    def _word(self, flow: http.HTTPFlow | None, status: int, message: str) -> replies.Reply:
        in_force = (self._begun.get(flow) if flow is not None else None) or self.settings
        expired = self.time_limits.problem(flow) if flow is not None else None
        problem = replies.explain(status, message, expired)
        if expired is replies.TOO_LARGE:
            status, problem = 413, replies.TOO_LARGE
        elif problem.kind in replies.TIMEOUTS:
            status = 504
        code = in_force.rules.errors.code(status) if in_force else "INTERNAL_ERROR"
        reply = replies.own_error(status, code, problem.sentence, problem.kind, _request_id(flow))
        server = f" ({flow.request.host}:{flow.request.port})" if flow and status >= 500 else ""
        _log(flow, reply, problem.sentence + server)
        if flow is not None and (decision := _decision(flow)) is not None:
            decision["answered"] = True  # Nothing of the upstream's is left to convert.
        return reply

    def _decide(self, flow: http.HTTPFlow) -> Coroutine[Any, Any, None] | None:
        if self.settings is None:
            raise RuntimeError("no rules are loaded")
        self._begun[flow] = settings = self.settings
        rules, request = settings.rules, flow.request
        flow.metadata.pop(FAILED, None)  # Of a flow that is sent again.
        external = rules.upstream.is_external(request.host, request.port)
        reverse = isinstance(flow.client_conn.proxy_mode, ReverseMode)
        if not (reverse or external):
            return None  # A forward proxy sees the whole web; only listed hosts are MLflow.

        base_path = rules.upstream.base_path
        mounts = rules.mounts_longest_first
        if (before := _decision(flow)) is not None:
            # A flow that is sent again has left its mount and carries the base path.
            mounts = (base_path, "") if base_path else ("",)
        read = target.read(request.path, mounts)
        decision = Decision(
            received=before["received"] if before else request.path.partition("?")[0],
            sent=request.path,
            mount=before["mount"] if before else read.mount if read else "",
            rule=None,
            paths=[read.path] if read else [],
            api=True,
            artifact=False,
            file=False,
            answered=False,
            graphql_fields=[],
            page=False,
            login=None,
        )
        flow.metadata[DECISION] = decision
        if read is None:
            message = f"Nothing is served here. Expected a path under {' or '.join(rules.mounts)}."
            self._deny(flow, decision, 404, rules.errors.code(404), message)
            return None
        if problem := target.ambiguity(read):
            message = f"The request target is ambiguous: it contains {problem}."
            self._deny(flow, decision, 400, rules.errors.code(400), message)
            return None
        if reverse and read.path in HEALTH_PATHS:
            return self._answer_health(flow, decision, read.path, rules.health)

        authority = flow.metadata.get(local_replies.AUTHORITY) or request.host_header or ""
        ours = request.headers.pop(health_service.PROBE_HEADER, None) == self.health.token
        allowed = rules.allowed_hosts
        if reverse and allowed and not ours and not hosts.is_allowed(authority, allowed):
            message = "This proxy is not addressed by that Host (see allowed_hosts)."
            self._deny(flow, decision, 403, rules.errors.code(403), message)
            return None

        if len(self._active) >= rules.limits.flows and not ours:
            message = "This proxy serves as many requests at once as it may. Please try again."
            self._deny(flow, decision, 503, rules.errors.code(503), message)
            return None
        self._active.add(flow.id)

        applicable = self._applicable(flow, settings, external)
        sent, decision["rule"] = rewrite.rewrite(read, applicable, base_path)
        if decision["rule"] and origin.is_foreign(
            request.method,
            request.headers.get("origin"),
            authority,
            rules.origins.allowed,
        ):
            message = "Requests from web pages of other sites are refused (see origins.allowed)."
            self._deny(flow, decision, 403, rules.errors.code(403), message)
            return None
        # Judge the path as it came, and as it goes where a rule has changed it.
        if decision["rule"] and (going := target.read(sent[len(base_path) :], ("",))):
            decision["paths"].append(going.path)
        decision["api"] = any(map(rules.is_api_path, decision["paths"]))
        endpoints = gate.artifact_endpoints(decision["paths"], rules.artifacts.endpoints)
        length = _request_length(request)
        if len(settings.allowed) < len(OPERATIONS) and self._gate(
            flow, decision, settings, endpoints, length
        ):
            return None
        decision["artifact"] = any(endpoint.graphql_field is None for endpoint in endpoints)
        decision["file"] = any(
            endpoint.files and gate.operation(request.method, endpoint) == "read"
            for endpoint in endpoints
        )
        limit = rules.limits.artifact_body if decision["artifact"] else rules.limits.api_body
        if length is not None and length > limit:
            self._deny(flow, decision, 413, rules.errors.code(413), replies.TOO_LARGE.sentence)
            return None
        if sent != request.path:
            request.path = sent
        decision["sent"] = sent
        if not decision["graphql_fields"] and flow.is_replay is None:
            request.stream = streaming.stream_request(
                length=length,
                artifact=decision["artifact"],
                threshold=rules.streaming.threshold,
            )
            if request.stream:
                self.time_limits.sending(flow, rules.upstream)
                if length is None:
                    request.stream = self._counting(flow, limit)
        return None

    def _counting(self, flow: http.HTTPFlow, limit: int) -> Callable[[bytes], list[bytes]]:
        """Pass a body of unknown length on, up to a limit; then end it, incomplete as it is."""
        left = limit

        def count(data: bytes) -> list[bytes]:
            nonlocal left
            if left >= 0:
                left -= len(data)
                if left < 0:
                    self.time_limits.end(flow, replies.TOO_LARGE)
            # An empty chunk would tell an HTTP/1 upstream that the body is complete.
            return [data] if data and left >= 0 else []

        return count

    def _head_limit(self) -> int:
        return self.settings.rules.limits.request_head if self.settings else 0

    def _gate(
        self,
        flow: http.HTTPFlow,
        decision: Decision,
        settings: Settings,
        endpoints: list[Endpoint],
        length: int | None,
    ) -> bool:
        """Refuse what is switched off; tells whether it did."""
        headers, artifacts = flow.request.headers, settings.rules.artifacts
        methods = gate.methods(flow.request.method, map(headers.get, gate.METHOD_OVERRIDES))
        for endpoint in endpoints:
            refused = [
                operation
                for method in methods
                if (operation := gate.operation(method, endpoint)) not in settings.allowed
            ]
            if not refused:
                continue
            # A GraphQL request is judged by its body, which has to be short enough to be read.
            if endpoint.graphql_field is None or length is None or length > 2**20:
                self._refuse(flow, decision, settings, refused[0])
                return True
            decision["graphql_fields"].append(endpoint.graphql_field)
        for endpoint in gate.suspected_endpoints(decision["paths"], artifacts.endpoints):
            if endpoint not in endpoints and any(
                gate.operation(method, endpoint) not in settings.allowed for method in methods
            ):
                message = "The path can be read as one of artifacts, which are switched off here."
                self._deny(flow, decision, 400, settings.rules.errors.code(400), message)
                return True
        return False

    def _refuse(
        self, flow: http.HTTPFlow, decision: Decision, settings: Settings, operation: Operation
    ) -> None:
        status = settings.rules.artifacts.disabled_status
        reply = gate.refusal(status, operation, settings.allowed, _request_id(flow))
        _log(flow, reply, f"artifacts: {operation} is switched off")
        _answer(flow, decision, reply)

    def _deny(
        self, flow: http.HTTPFlow, decision: Decision, status: int, code: str, message: str
    ) -> None:
        reply = replies.own_error(status, code, message, "http_request_denied", _request_id(flow))
        _log(flow, reply, message)
        _answer(flow, decision, reply)

    def _applicable(
        self, flow: http.HTTPFlow, settings: Settings, external: bool
    ) -> Iterator[RewriteRule]:
        host, port = flow.request.host, flow.request.port
        for rule in settings.rules.rewrites:
            matches = settings.filters.get(rule.name)
            if rule.applies_to(host, port, external) and (matches is None or matches(flow)):
                yield rule

    async def _answer_health(
        self, flow: http.HTTPFlow, decision: Decision, path: str, config: Health
    ) -> None:
        host, port, *_ = flow.client_conn.sockname
        listener = _base_url("http", host, port)
        try:
            reply = await self.health.answer(path, listener, config)
        except Exception:
            self._fail_closed(flow)
            return
        _answer(flow, decision, reply)

    def _fail_closed(self, flow: http.HTTPFlow) -> None:
        """An exception of ours must not let a request through that might have been refused.

        Nor an answer that might have had to be changed: should the upstream be answering already,
        nothing of that is kept.
        """
        flow.metadata[FAILED] = request_id = _log_exception(flow)
        flow.metadata[local_replies.HOLD] = 0
        flow.metadata[local_replies.DROPPED] = True
        flow.request.stream = False
        flow.request.headers.pop("expect", None)
        flow.response = local_replies.to_response(_failure(request_id), flow.request.method)


def _rules_path() -> Path:
    return Path(ctx.options.mlflow_rules).expanduser()


def _sources() -> tuple[Path, str | None, str]:
    """What `settings.read` asks for."""
    environment = os.environ.get(gate.ENVIRONMENT)
    return _rules_path(), environment, ctx.options.mlflow_serve_artifacts


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _decision(flow: http.HTTPFlow) -> Decision | None:
    return cast("Decision | None", flow.metadata.get(DECISION))


def _answer(flow: http.HTTPFlow, decision: Decision, reply: replies.Reply) -> None:
    """Answer in the upstream's place."""
    decision["answered"] = True
    # Else mitmproxy tells the client to go on with a body that nobody wants.
    flow.request.headers.pop("expect", None)
    flow.response = local_replies.to_response(reply, flow.request.method)


def _request_id(flow: http.HTTPFlow | None) -> str:
    return replies.request_id(flow.request.headers.get(replies.REQUEST_ID) if flow else None)


def _log_exception(flow: http.HTTPFlow | None) -> str:
    """Log the exception that is being handled; returns the request id under which it stands."""
    request_id = _request_id(flow)
    logger.exception("internal error; nothing was passed on (request id %s)", request_id)
    return request_id


def _failure(request_id: str) -> replies.Reply:
    message = "Internal error of the proxy; see its log."
    return replies.own_error(500, "INTERNAL_ERROR", message, "proxy_internal_error", request_id)


def _log(flow: http.HTTPFlow | None, reply: replies.Reply, why: str) -> None:
    """Log an error of the proxy's own under the id that the client sees; never a query."""
    what = "a malformed request"
    if flow is not None:
        decision = _decision(flow)
        path = decision["received"] if decision else flow.request.path.partition("?")[0]
        what = bodies.printable(f"{flow.request.method} {path}")
    request_id = dict(reply.headers)[replies.REQUEST_ID]
    logger.warning("answered %d to %s: %s (request id %s)", reply.status, what, why, request_id)


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


def _map_location(flow: http.HTTPFlow, value: str, decision: Decision, rules: Rules) -> str:
    """A URL of the upstream's as the client knows it."""
    request = flow.request
    scheme = "https" if flow.client_conn.tls else "http"
    authority = flow.metadata.get(local_replies.AUTHORITY, "")
    public = rewrite.Origin.of(scheme, authority)
    upstream = rewrite.Origin(request.scheme, request.host.lower(), request.port)
    return rewrite.map_location(
        value,
        base=request.scheme,
        ours=[upstream, public] if public else [upstream],
        public=f"{scheme}://{authority}" if public else "",
        mount=decision["mount"],
        base_path=rules.upstream.base_path,
    )


def _login_place(
    flow: http.HTTPFlow, response: http.Response, decision: Decision, rules: Rules
) -> str | None:
    location = response.headers.get("location")
    if (
        location is None
        or response.status_code not in login.REDIRECTS
        or login.asks_for_pages(flow.request.headers.get("accept", ""))
    ):
        return None
    request = flow.request
    place = login.redirect_place(
        location,
        url=_base_url(request.scheme, request.host, request.port) + decision["sent"],
        base_path=rules.upstream.base_path,
        is_api=rules.is_api_path,
        file=decision["file"],
        rules=rules.errors.login,
    )
    return place and _map_location(flow, place, decision, rules)


def _base_url(scheme: str, host: str, port: int) -> str:
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _request_length(request: http.Request) -> int | None:
    """Bytes of the body; None if that is not known from the headers."""
    if request.headers.get("content-length", "").isdigit():
        return int(request.headers["content-length"])
    framed_by_stream = request.is_http2 or request.is_http3
    return None if framed_by_stream or "transfer-encoding" in request.headers else 0


def _response_length(response: http.Response) -> int | None:
    length = response.headers.get("content-length", "")
    return int(length) if length.isdigit() and "transfer-encoding" not in response.headers else None


def _convert(response: http.Response, converted: errors.Converted, *, head: bool) -> None:
    """Put a status and a JSON body (for HEAD only its description) in an upstream's place."""
    if response.status_code != converted.status:
        response.status_code = converted.status
        response.reason = status_codes.RESPONSES.get(converted.status, "")
    if converted.body is None:
        return
    for name in errors.ENTITY_HEADERS:
        response.headers.pop(name, None)
    response.headers["Content-Type"] = "application/json"
    response.trailers = None
    if not head:
        response.raw_content = converted.body
        response.headers["Content-Length"] = str(len(converted.body))
