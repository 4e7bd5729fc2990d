"""The adapter: mitmproxy's hooks on one side, pure functions over plain values on the other.

The way of a request: read the target, refuse it or answer it, rewrite it, choose streaming; all
in `requestheaders`, because a streamed body is on its way upstream before `request` runs. What
was decided stands in `flow.metadata[DECISION]`, and every later hook asks only that.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, cast

from mitmproxy import ctx, exceptions, flowfilter, http
from mitmproxy.addonmanager import Loader
from mitmproxy.connection import Client
from mitmproxy.proxy.mode_specs import ReverseMode
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

from . import (
    errors,
    gate,
    health_service,
    local_replies,
    origin,
    rewrite,
    streaming,
    target,
    wide_reads,
)
from .filters import parse_request_filter
from .rules import HEALTH_PATHS, Health, RewriteRule, Rules
from .rules_file import DEFAULT_PATH, RulesError, load

logger = logging.getLogger(__name__)

DECISION = "mlflow"
"""Key in `flow.metadata`."""


class Decision(TypedDict):
    """What was decided for a flow: plain values, because mitmproxy writes them to flow files."""

    received: str
    """Path as the client sent it, without the query."""
    sent: str
    """Path and query that go upstream."""
    mount: str
    rule: str | None
    """Name of the rewrite rule that changed the path."""
    api: bool
    """Whether errors have to be JSON."""
    artifact: bool
    """Whether the bodies are artifacts."""
    answered: bool
    """Whether the proxy answered by itself."""
    graphql_field: str | None
    """The field that the body must not name."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All that the hooks need from rules and options; swapped as a whole."""

    rules: Rules
    artifacts_enabled: bool
    filters: dict[str, flowfilter.TFilter]
    """Compiled filter expressions by the name of their rule."""


class MlflowProxy:
    """The addon."""

    def __init__(self) -> None:
        self.settings: Settings | None = None
        self.health = health_service.HealthService()
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
        self._uninstall = local_replies.install(self.own_reply)
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
        try:
            rules = load(Path(ctx.options.mlflow_rules).expanduser())
            enabled = gate.artifacts_enabled(
                rules.artifacts.enabled,
                os.environ.get(gate.ENVIRONMENT),
                ctx.options.mlflow_serve_artifacts,
            )
        except RulesError as error:
            if self.settings is not None:
                raise exceptions.OptionsError(str(error)) from None  # The old rules stay.
            # At start a logged error ends mitmproxy with exit code 1, without a traceback.
            # Should it live on, `_decide` refuses every request.
            logger.error("%s", error)
            return
        filters = {r.name: parse_request_filter(r.filter) for r in rules.rewrites if r.filter}
        self.settings = Settings(rules, enabled, filters)

    def done(self) -> None:
        """Give mitmproxy its own answers back."""
        if self._uninstall is not None:
            self._uninstall()
            self._uninstall = None

    def client_connected(self, client: Client) -> None:
        """Read from the client in large portions."""
        wide_reads.widen(ctx.master.addons.get("proxyserver"), client, client)

    def server_connected(self, data: ServerConnectionHookData) -> None:
        """Read from the upstream in large portions."""
        wide_reads.widen(ctx.master.addons.get("proxyserver"), data.client, data.server)

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
            if (
                decision is not None
                and self.settings is not None
                and (field := decision["graphql_field"])
                and gate.names_field(flow.request.raw_content or b"", field)
            ):
                status = self.settings.rules.artifacts.disabled_status
                _answer(flow, decision, gate.refusal(status))
            return later
        except Exception:
            self._fail_closed(flow)
            return None

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Map redirects back; hold an error that has to be converted, stream what is large."""
        decision, response = _decision(flow), flow.response
        if decision is None or decision["answered"] or response is None or self.settings is None:
            return
        rules = self.settings.rules
        _map_locations(flow, response, decision, rules)
        content_type = response.headers.get("content-type", "")
        length = _response_length(response)
        if decision["api"] and errors.may_need_conversion(response.status_code, content_type):
            if not errors.is_json(content_type):
                flow.metadata[local_replies.DROP_REST] = True
                return
            if length is not None and length <= errors.BODY_LIMIT:
                return
        if response.status_code != 101:
            response.stream = streaming.stream_response(
                length=length,
                content_type=content_type,
                artifact=decision["artifact"],
                threshold=rules.streaming.threshold,
            )

    def response(self, flow: http.HTTPFlow) -> None:
        """Convert the body of an error."""
        decision, response = _decision(flow), flow.response
        if (
            decision is None
            or decision["answered"]
            or not decision["api"]
            or response is None
            or response.stream
            or self.settings is None
        ):
            return
        content_type = response.headers.get("content-type", "")
        if not errors.may_need_conversion(response.status_code, content_type):
            return
        if flow.request.method == "HEAD":
            if not errors.is_json(content_type):
                _replace_body(response, None)
            return
        body = response.raw_content or b""
        converted = errors.convert(
            status=response.status_code,
            code=self.settings.rules.errors.code(response.status_code),
            path=decision["received"],
            content_type=content_type,
            encoding=response.headers.get("content-encoding", ""),
            body=body[: errors.BODY_LIMIT],
            whole=len(body) <= errors.BODY_LIMIT,
        )
        if converted is not None:
            _replace_body(response, converted)

    def own_reply(self, flow: http.HTTPFlow | None, status: int, message: str) -> errors.Reply:
        """Word an answer that mitmproxy makes by itself (see `local_replies`)."""
        code = self.settings.rules.errors.code(status) if self.settings else "INTERNAL_ERROR"
        if flow is not None and status >= 500:
            logger.warning(
                "upstream %s:%d: %s",
                flow.request.host,
                flow.request.port,
                errors.connection_problem(message),
            )
        return errors.own_reply(status, code, message)

    def _decide(self, flow: http.HTTPFlow) -> Coroutine[Any, Any, None] | None:
        if self.settings is None:
            raise RuntimeError("no rules are loaded")
        settings, rules, request = self.settings, self.settings.rules, flow.request
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
            api=True,
            artifact=False,
            answered=False,
            graphql_field=None,
        )
        flow.metadata[DECISION] = decision
        if read is None:
            message = f"Nothing is served here. Expected a path under {' or '.join(rules.mounts)}."
            _answer(flow, decision, errors.proxy_reply(404, rules.errors.code(404), message))
            return None
        if reverse and read.path in HEALTH_PATHS:
            return self._answer_health(flow, decision, read.path, rules.health)

        applicable = self._applicable(flow, settings, external)
        sent, decision["rule"] = rewrite.rewrite(read, applicable, base_path)
        if decision["rule"] and origin.is_foreign(
            request.method,
            request.headers.get("origin"),
            flow.metadata.get(local_replies.AUTHORITY) or request.host_header or "",
            rules.origins.allowed,
        ):
            message = "Requests from web pages of other sites are refused (see origins.allowed)."
            _answer(flow, decision, errors.proxy_reply(403, rules.errors.code(403), message))
            return None
        # Judge the path as it came, and as it goes where a rule has changed it.
        paths = [read.path]
        if decision["rule"] and (going := target.read(sent[len(base_path) :], ("",))):
            paths.append(going.path)
        decision["api"] = any(rules.is_api_path(path) for path in paths)
        endpoint = gate.artifact_endpoint(paths, rules.artifacts.endpoints)
        if endpoint is not None and not settings.artifacts_enabled:
            decision["graphql_field"] = endpoint.graphql_field
            # A GraphQL request is judged by its body, which has to be short enough to be read.
            length = _request_length(request)
            if endpoint.graphql_field is None or length is None or length > 2**20:
                _answer(flow, decision, gate.refusal(rules.artifacts.disabled_status))
                return None
        decision["artifact"] = endpoint is not None and endpoint.graphql_field is None
        if sent != request.path:
            request.path = sent
        decision["sent"] = sent
        if decision["graphql_field"] is None and flow.is_replay is None:
            request.stream = streaming.stream_request(
                length=_request_length(request),
                artifact=decision["artifact"],
                threshold=rules.streaming.threshold,
            )
        return None

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
        listener = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        try:
            reply = await self.health.answer(path, listener, config)
        except Exception:
            self._fail_closed(flow)
            return
        _answer(flow, decision, reply)

    def _fail_closed(self, flow: http.HTTPFlow) -> None:
        """An exception of ours must not let a request through that might have been refused."""
        logger.exception("internal error; the request was not forwarded")
        flow.request.stream = False
        flow.request.headers.pop("expect", None)
        message = "Internal error of the proxy; see its log."
        reply = errors.proxy_reply(500, "INTERNAL_ERROR", message)
        flow.response = local_replies.to_response(reply, flow.request.method)


def _decision(flow: http.HTTPFlow) -> Decision | None:
    return cast("Decision | None", flow.metadata.get(DECISION))


def _answer(flow: http.HTTPFlow, decision: Decision, reply: errors.Reply) -> None:
    """Answer in the upstream's place."""
    decision["answered"] = True
    # Else mitmproxy tells the client to go on with a body that nobody wants.
    flow.request.headers.pop("expect", None)
    flow.response = local_replies.to_response(reply, flow.request.method)


def _map_locations(
    flow: http.HTTPFlow, response: http.Response, decision: Decision, rules: Rules
) -> None:
    for name in ("location", "content-location"):
        if (value := response.headers.get(name)) is None:
            continue
        request = flow.request
        scheme = "https" if flow.client_conn.tls else "http"
        authority = flow.metadata.get(local_replies.AUTHORITY, "")
        public = rewrite.Origin.of(scheme, authority)
        upstream = rewrite.Origin(request.scheme, request.host.lower(), request.port)
        response.headers[name] = rewrite.map_location(
            value,
            base=request.scheme,
            ours=[upstream, public] if public else [upstream],
            public=f"{scheme}://{authority}" if public else "",
            mount=decision["mount"],
            base_path=rules.upstream.base_path,
        )


def _request_length(request: http.Request) -> int | None:
    """Bytes of the body; None if that is not known from the headers."""
    if request.headers.get("content-length", "").isdigit():
        return int(request.headers["content-length"])
    framed_by_stream = request.is_http2 or request.is_http3
    return None if framed_by_stream or "transfer-encoding" in request.headers else 0


def _response_length(response: http.Response) -> int | None:
    length = response.headers.get("content-length", "")
    return int(length) if length.isdigit() and "transfer-encoding" not in response.headers else None


def _replace_body(response: http.Response, body: bytes | None) -> None:
    """Put a JSON body (None for HEAD: only its description) in the place of an upstream's."""
    for name in errors.ENTITY_HEADERS:
        response.headers.pop(name, None)
    response.headers["Content-Type"] = "application/json"
    response.trailers = None
    if body is not None:
        response.raw_content = body
        response.headers["Content-Length"] = str(len(body))
