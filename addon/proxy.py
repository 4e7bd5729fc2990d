"""The adapter between mitmproxy's hooks and pure functions over plain values.

The steps of a request: read the target, refuse it or answer it, rewrite it, choose streaming; all
in `requestheaders`, because a streamed body is on its way upstream before `request` runs. The
decision is kept in `flow.metadata` (see `decision`), and later hooks read it there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mitmproxy import ctx, exceptions, http
from mitmproxy.addonmanager import Loader
from mitmproxy.connection import Client, Connection
from mitmproxy.proxy.layer import NextLayer
from mitmproxy.proxy.mode_specs import ReverseMode
from mitmproxy.proxy.server_hooks import ServerConnectionHookData
from mitmproxy.tls import TlsData

from . import options
from .engine import connections, plug, top_layer
from .engine.front import Front
from .engine.interface import (
    BYTES_OUT,
    DROPPED,
    ENDED_BY,
    HOLD,
)
from .engine.responses import to_response
from .engine.top_layer import TopLayer
from .engine.turns import Slots
from .errors import replies
from .hooks import (
    answering,
    body_times,
    bypasses,
    client_limit,
    drain,
    held,
    in_flight,
    lean,
    listeners,
    loop_errors,
    on_dialect,
    on_end,
    on_request,
    on_response,
    on_show,
    open_files,
    room,
    sd_notify,
    send_times,
    silent_clients,
    term_log,
    time_limits,
)
from .hooks.answering import RefusedError
from .internals import still_there, wide_reads
from .internals.reached_into import Part
from .mitmweb import commands, content_view, flow_ring
from .observe import (
    banner,
    log_guard,
    remarks,
)
from .observe.measured import State
from .observe.reports import Reports
from .protocol import headers
from .registry import diagnosis, health_service
from .registry.dialect import Dialect
from .registry.dialect_watch import Address, DialectWatch
from .routing import decision, gate, settings
from .routing.decision import FAILED, SAID, WHY
from .routing.rewrite import Origin
from .routing.settings import Settings
from .rules import reload
from .rules.model import Drain, Rules
from .rules.rules_file import RulesError

if TYPE_CHECKING:
    from mitmproxy.addons.view import View

logger = logging.getLogger(__name__)

STALE = "stale: the last change was refused, see the log"
"""The state of the rules in /readyz after a failed reload."""

_IN_FORCE = "_mlflow_settings"
"""Attribute of a flow: the settings in force when it began, so that it never sees a mix of two."""


class MlflowProxy:
    """The addon."""

    def __init__(self) -> None:
        self.settings: Settings | None = None
        """The settings for new flows, before the API of their upstream is known."""
        self._adapted: dict[Address, Settings] = {}
        """The settings for upstreams whose API is known."""
        self._other_way: dict[tuple[Address, bool], Settings] = {}
        """The settings of the other dialect, for upstreams whose dialect is unclear."""
        self.dialects = DialectWatch(self._adapt)
        self.health = health_service.HealthService()
        self.drain = drain.Drain()
        self.slots = Slots()
        self.time_limits = time_limits.TimeLimits()
        self.silent_clients = silent_clients.SilentClients()
        self.client_limit = client_limit.ClientLimit()
        self._body_times = body_times.BodyTimes()
        self._send_times = send_times.SendTimes()
        self._loop_errors = loop_errors.LoopErrors()
        self.lean = lean.Lean()
        self._unanswered: dict[Address, str] = {}
        """The last error of the proxy's own probes, by upstream."""
        self._in_flight = in_flight.InFlight()
        """Requests that are being served."""
        self._held = held.Held()
        """Bytes of bodies in memory."""
        self._reports = Reports(self._state)
        self._rules_read = 0.0
        """When the rules were read, in seconds since 1970."""
        self._reloads = {"success": 0, "failure": 0}
        self._keep_flows = flow_ring.DEFAULT
        self._view: View | None = None
        """Where mitmweb and mitmproxy keep flows."""
        self._shown = False
        """Whether flows are shown in a user interface or written to a file."""
        self._signature: reload.Signature = None
        self._watch: asyncio.Task[None] | None = None
        self._reloading: asyncio.Task[None] | None = None

    def load(self, loader: Loader) -> None:
        """Register the options.

        By default, mitmproxy connects upstream as soon as a client connects. If that fails, the
        client gets an empty reply before any hook runs; so connections wait for a request.
        """
        options.add(loader)
        for problem in options.misspelled(ctx.options.deferred, ctx.options.keys()):
            logger.error("%s", problem)  # At start this ends mitmproxy with exit code 1.
        ctx.master.commands.collect_commands(commands.Commands(self))
        log_guard.install()
        for part in Part:
            if (missing := still_there.warning(part)) is not None:
                logger.warning("%s", missing)
        term_log.install()
        wide_reads.keep_buffers()
        open_files.allow_many()
        # Before the first listener opens; a bare test context has no such option.
        if "connection_strategy" in ctx.options:
            # Setting confdir to its present value makes mitmproxy read its certificates now. It
            # would do so after the listeners open, and a request before that would end it with an
            # error (see the FIXME in mitmproxy/addons/tlsconfig.py, `running`).
            ctx.options.update(connection_strategy="lazy", confdir=ctx.options.confdir)
        on_show.show_comments()

    def configure(self, updated: set[str]) -> None:
        """Apply changed options."""
        self.lean.configure(updated)
        if "mlflow_lean" in updated and self._watch is not None:
            self.lean.switch(ctx.master, ctx.options.mlflow_lean)
        if "mlflow_keep_flows" in updated:
            if ctx.options.mlflow_keep_flows < 0:
                value = ctx.options.mlflow_keep_flows
                raise exceptions.OptionsError(f"mlflow_keep_flows: {value}: expected 0 or more")
            self._keep_flows = ctx.options.mlflow_keep_flows
        if "mlflow_access_log" in updated:
            self._open("mlflow_access_log", self._reports.write_to)
        if "mlflow_metrics" in updated:
            self._open("mlflow_metrics", self._reports.listen_on)
        if updated & on_show.FILE_OPTIONS:
            self._shown = self._view is not None or on_show.goes_to_a_file()
        if not updated & {"mlflow_rules", "mlflow_serve_artifacts"}:
            if updated & bypasses.OPTIONS and self.settings is not None:
                self._check_options(self.settings)
            return
        self._signature = reload.signature(_rules_path())
        try:
            self._put_in_force(settings.read(*_sources()))
        except RulesError as error:
            if self.settings is not None:
                raise exceptions.OptionsError(str(error)) from None  # The old rules stay.
            # At start a logged error ends mitmproxy with exit code 1, without a traceback.
            # Until then no client is served, see `client_connected`.
            logger.error("%s", error)

    def _check_options(self, in_force: Settings) -> None:
        try:
            bypasses.check(in_force, _options())
        except RulesError as error:
            raise exceptions.OptionsError(str(error)) from None  # The old values stay.

    def _open(self, option: str, begin: Callable[[str], None]) -> None:
        value = getattr(ctx.options, option)
        try:
            begin(value)
        except ValueError as error:
            message = f"{option}: {value}: {error}"
            if self._watch is not None:
                raise exceptions.OptionsError(message) from None  # The old value stays.
            logger.error("%s", message)  # Ends mitmproxy, as for rules.

    def _reload_soon(self) -> None:
        self._reloading = asyncio.create_task(self._reload())

    async def _reload(self) -> None:
        """Read the rules again; those in force stay if that fails."""
        try:
            with self._noting_reload():
                self._put_in_force(await asyncio.to_thread(settings.read, *_sources()))
        except RulesError as error:
            logger.error("the old rules stay in force: %s", error)
        except Exception:
            logger.exception("the old rules stay in force")
        else:
            logger.warning("the rules were read again: %s", _rules_path())

    def reload_now(self) -> None:
        """Reload the rules synchronously, for a caller that waits for the result.

        Raises:
            RulesError: the rules have a mistake.
        """
        with self._noting_reload():
            self._put_in_force(settings.read(*_sources()))

    @contextlib.contextmanager
    def _noting_reload(self) -> Iterator[None]:
        try:
            yield
        except Exception:
            self._reloads["failure"] += 1
            self.health.rules = STALE
            raise
        self._reloads["success"] += 1
        self.health.rules = health_service.CURRENT

    def _put_in_force(self, read: Settings) -> None:
        bypasses.check(read, _options())
        before, self.settings, self._rules_read = self.settings, read, time.time()
        self.client_limit.use(read.rules.limits)
        if (seconds := silent_clients.set_by_user()) is not None:
            limits, upstream = read.rules.limits, read.rules.upstream
            if warning := silent_clients.warning(seconds, limits, upstream):
                logger.warning("%s", warning)
        if self._watch is not None and (
            before is None or before.rules.upstream != read.rules.upstream
        ):
            self._watch_dialects(read.rules)
        self._adapt()

    def _adapt(self) -> None:
        if (read := self.settings) is not None:
            self._adapted = {
                address: settings.adapted(
                    read, address, is_ajax=found.dialect == "ajax", base_path=found.base_path
                )
                for address, found in self.dialects.findings.items()
            }
            self._other_way = {}

    def in_force(self, address: Address) -> Settings | None:
        """Return the settings for new requests to an upstream; None if no rules are loaded."""
        return self._adapted.get(address, self.settings)

    def _watch_dialects(self, rules: Rules) -> None:
        """Find out the dialects of the upstreams for which the rules do not set one."""
        config, upstreams = rules.upstream, {}
        for mode, listener in listeners.in_reverse_mode() if config.dialect == "auto" else ():
            if not config.is_listed(*mode.address):
                try:
                    upstreams[mode.address] = self.health.ask(listener.url, rules.health)
                except (OSError, ValueError) as error:  # From values in the environment.
                    logger.warning("upstreams cannot be asked, the rules decide: %s", error)
        self.dialects.start(upstreams, config.base_path)

    def running(self) -> None:
        """Watch the rules and SIGTERM; notify systemd; warn if any Host is served."""
        self._watch = asyncio.create_task(reload.watch(_rules_path, self._signature, self._reload))
        self._loop_errors.begin()
        reload.upon_sighup(self._reload_soon)
        self._view = ctx.master.addons.get("view")
        self._shown = self._view is not None or on_show.goes_to_a_file()
        if self._view is not None:
            content_view.add()
        self.lean.switch(ctx.master, ctx.options.mlflow_lean)
        self._reports.start()
        self.drain.upon_sigterm(
            lambda: self.settings.rules.drain if self.settings else Drain(), self.health.is_watched
        )
        if self.settings is not None:
            self._watch_dialects(self.settings.rules)
        open_to = listeners.beyond_this_machine()
        if open_to and self.settings is not None and not self.settings.rules.allowed_hosts:
            logger.warning(
                "listening on %s without allowed_hosts in the rules: every Host is served",
                ", ".join(open_to),
            )
        sd_notify.send("READY=1")
        banner.show()

    def done(self) -> None:
        """Undo the changes to mitmproxy."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        self.dialects.stop()
        self._loop_errors.end()
        self.lean.switch(ctx.master, False)
        self._reports.close()

    def client_connected(self, client: Client) -> None:
        """Accept or turn away a client; limit the time until its first request."""
        if self.settings is None:
            # Until mitmproxy ends, its bytes must not be forwarded unread either.
            client.error = "no rules are loaded"
            return
        if client.transport_protocol == "udp" and self.settings.wary:
            # HTTP/3 requests are not judged again before they go upstream.
            client.error = "HTTP/3 is not served while artifacts are switched off"
            return
        if not self.client_limit.admits(client):
            self._turn_away(client, self.settings.rules)
            return
        self.lean.connected(connections.handler(client))
        self._widen(client, client)
        self.drain.connected(client)
        mode = client.proxy_mode
        if isinstance(mode, ReverseMode) and "http" in mode.scheme:
            self.time_limits.connected(client, self.settings.rules.limits.head_timeout)
            self.silent_clients.connected(client, self._rules)
            self._send_times.connected(client, self._send_timeout)

    def _turn_away(self, client: Client, rules: Rules) -> None:
        client.error = "too many clients are connected"
        reply = replies.own_error(
            503,
            rules.errors.code(503),
            client_limit.MESSAGE,
            "http_request_denied",
            answering.request_id(None),
            "too_many_connections",
        )
        client_limit.answer(client, reply)
        self._reports.count_refused("too_many_connections")

    def _widen(self, client: Client, connection: Connection) -> None:
        top = self.top_layer(client)
        take = top.received if top is not None else None
        wide_reads.widen(connections.io(client, connection), connection, take)

    def _rules(self) -> Rules | None:
        return self.settings.rules if self.settings else None

    def next_layer(self, data: NextLayer) -> None:
        """Let the engine serve HTTP in reverse mode."""
        plug.choose(data, self)

    def client_disconnected(self, client: Client) -> None:
        """The client has gone: drop its state."""
        self.client_limit.gone(client)
        self.time_limits.forget(client.id)
        self._body_times.forget(client.id)
        self._send_times.gone(client.id)
        self.silent_clients.forget(client.id)

    def server_connect(self, data: ServerConnectionHookData) -> None:
        """Limit the time for a connection attempt."""
        if self.settings is not None:
            self.time_limits.connecting(data.client, data.server, self.settings.rules.upstream)

    def server_connected(self, data: ServerConnectionHookData) -> None:
        """Read from the upstream in large portions."""
        self._widen(data.client, data.server)
        if data.client.alpn == b"h2":
            room.widen(connections.io(data.client, data.server))
        if not data.server.tls:
            self.time_limits.stop(data.server.id)

    def server_connect_error(self, data: ServerConnectionHookData) -> None:
        """A connection attempt has failed: stop its timer, and drop its record."""
        self.time_limits.stop(data.server.id)
        connections.forget(data.client, data.server)

    def tls_established_server(self, data: TlsData) -> None:
        """TLS with the upstream is established or has failed: stop the timer of the connection."""
        self.time_limits.stop(data.conn.id)

    tls_failed_server = tls_established_server

    def requestheaders(self, flow: http.HTTPFlow) -> Coroutine[Any, Any, None] | None:
        """Decide on a request; return a coroutine if that has to wait, only for this flow."""
        self.time_limits.stop(flow.client_conn.id)
        if on_request.asks_for_login(flow) and self._sender(flow) != "client":
            flow.response = None  # The proxy's own probes carry no credentials for it.
        if flow.response is not None or flow.error is not None:
            return None  # Another addon has answered or killed it.
        try:
            return self._decide(flow)
        except Exception:
            self._fail_closed(flow)
            return None
        finally:
            if self._shown:
                on_show.show(flow)

    def request(self, flow: http.HTTPFlow) -> Coroutine[Any, Any, None] | None:
        """Decide on a flow that did not pass `requestheaders`; check GraphQL bodies."""
        if flow.response is not None or flow.error is not None:
            return None  # Already answered or killed.
        try:
            decided, later = decision.of(flow), None
            gone = bool(flow.request.stream)  # Already sent: a change now is too late.
            moved = not gone and decided is not None and decided["sent"] != flow.request.path
            in_force = _in_force(flow)
            if decided is None or moved or flow.is_replay or in_force is None:
                later = self._decide(flow)
                decided, in_force = decision.of(flow), _in_force(flow)
            if decided is not None and in_force is not None and flow.response is None:
                on_request.check_body(flow, decided, in_force)
                self.time_limits.sent(flow, in_force.rules.upstream)
            return later
        except RefusedError as refused:
            answering.refuse(flow, refused, self._origins(flow))
            return None
        except Exception:
            self._fail_closed(flow)
            return None
        finally:
            if self._shown:
                on_show.show(flow)

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Map redirects back; hold a body that may have to be converted, stream a large one."""
        try:
            if FAILED not in flow.metadata and (in_force := _in_force(flow)) is not None:
                on_response.judge_head(flow, in_force)
        except Exception:
            self._fail_closed(flow)

    def response(self, flow: http.HTTPFlow) -> None:
        """Convert errors and login pages."""
        self._ended(flow)
        try:
            if request_id := flow.metadata.get(FAILED):
                # The upstream's answer may have replaced ours since.
                reply = answering.failure(request_id)
                reply = answering.for_page(flow, reply, self._origins(flow))
                flow.response = to_response(reply, flow.request.method)
            elif (in_force := self._learn(flow)) is not None:
                address, decided = _upstream(flow), decision.of(flow)
                if self._unanswered and decided and decided["probe"] and not decided["answered"]:
                    self._unanswered.pop(address, None)
                unknown = self.dialects.is_unknown(address) and on_dialect.depends_on_it(flow)
                hint = diagnosis.UNKNOWN if unknown else ""
                if on_response.judge_body(flow, in_force, keep=self._shown, hint=hint):
                    self.dialects.doubt(*address)
        except Exception:
            self._fail_closed(flow)
        if self._shown:
            on_show.show(flow)
        if self._reports.wanted:
            self._reports.add(on_end.ended(flow))

    def error(self, flow: http.HTTPFlow) -> None:
        """A flow has ended without a response."""
        self._ended(flow)
        if self._reports.wanted:
            self._reports.add(on_end.ended(flow))

    def may_go(self, flow: http.HTTPFlow) -> bool:
        """Return whether a request may go upstream (see `engine.interface.Addon`)."""
        try:
            if (in_force := _in_force(flow) or self.settings) is None:
                raise RuntimeError("no rules are loaded")
            on_request.check_sent(flow, in_force)
        except RefusedError as refused:
            answering.refuse(flow, refused, self._origins(flow))
            return False
        except Exception:
            self._fail_closed(flow)
            return False
        return True

    def over(self, flow: http.HTTPFlow) -> None:
        """Release a request's resources (see `engine.interface.Addon`)."""
        transport = self.client_limit.transport(flow.client_conn)
        self._in_flight.end(flow.id, transport)
        self._held.leave(flow.id, transport)

    def has_room(self, client: Client, connection: Connection) -> bool:
        """Return whether a registry can take more of a body (see `engine.interface.Addon`)."""
        return room.is_there(connections.io(client, connection))

    def hold(self, flow: http.HTTPFlow, more: int) -> bool:
        """Count bytes of a flow's bodies if there is room (see `engine.interface.Addon`)."""
        limit = self.settings.rules.limits.held if self.settings else 0
        return self._held.take(flow.id, more, limit)

    def refuse_to_hold(self, flow: http.HTTPFlow) -> None:
        """Answer a request whose bodies there is no room to hold (see `engine.interface.Addon`)."""
        try:
            code = self.settings.rules.errors.code(503) if self.settings else "INTERNAL_ERROR"
            message = "This proxy holds as much in memory as it may. Please try again."
            refused = answering.denied(flow, 503, code, message, "too_much_held")
            answering.refuse(flow, refused, self._origins(flow))
        except Exception:
            self._fail_closed(flow)

    def keeps_messages(self) -> bool:
        """Return whether to keep the messages of a WebSocket, because flows are shown."""
        return self._shown

    def let_go(self, flow: http.HTTPFlow, begin: bytes) -> bool | None:
        """Return whether a held body passes after all (see `engine.interface.Addon`)."""
        try:
            return on_response.may_pass(flow, begin)
        except Exception:
            self._fail_closed(flow)
            return False

    def goes_again(self, flow: http.HTTPFlow) -> bool:
        """Return whether to send a request again (see `engine.interface.Addon`)."""
        try:
            in_force, address = _in_force(flow), _upstream(flow)
            if in_force is None or address not in self.dialects.unclear:
                return False
            if not on_dialect.may_go_again(flow):
                return False
            other = self._if_it_were_the_other(address, in_force)
            if not on_dialect.send_again(flow, in_force, other, self.time_limits.end):
                return False
            setattr(flow, _IN_FORCE, other)
            self.time_limits.sent(flow, other.rules.upstream)
        except Exception:
            self._fail_closed(flow)
            return False
        return True

    def _if_it_were_the_other(self, address: Address, in_force: Settings) -> Settings:
        upstream = in_force.rules.upstream
        is_ajax = not upstream.is_external(*address)
        key = (address, is_ajax)
        if key not in self._other_way:
            self._other_way[key] = settings.adapted(
                self.settings or in_force, address, is_ajax=is_ajax, base_path=upstream.base_path
            )
        return self._other_way[key]

    def _learn(self, flow: http.HTTPFlow) -> Settings | None:
        """Return the settings of a finished flow, and learn its upstream's dialect from it."""
        in_force, kept = _in_force(flow), on_dialect.first(flow)
        if kept is None or in_force is None:
            return in_force
        if on_dialect.is_no_better(flow):
            on_dialect.put_back(flow, kept)
            setattr(flow, _IN_FORCE, kept.settings)
            return kept.settings
        address, upstream = _upstream(flow), in_force.rules.upstream
        speaks: Dialect = "ajax" if upstream.is_external(*address) else "standard"
        if found := on_dialect.learned(flow, kept, speaks, upstream.base_path):
            self.dialects.learn(address, found)
        return in_force

    def own_reply(self, flow: http.HTTPFlow | None, status: int, message: str) -> replies.Reply:
        """Return the answer for an error (see `engine.interface.Addon`)."""
        try:
            reply = self._word(flow, status, message)
        except Exception:
            reply = answering.failure(answering.log_exception(flow))
        if flow is not None:
            answering.note(flow, reply)
            reply = answering.for_page(flow, reply, self._origins(flow))
        return reply

    def refused(self, client: Client, reply: replies.Reply) -> None:
        """The client's bytes do not become a flow (see `engine.interface.Addon`)."""
        if self._reports.wanted:
            self._reports.add(on_end.ended_without_flow(client, reply))

    def is_cut(self, flow: http.HTTPFlow) -> bool:
        """Return whether the upstream's connection was cut, by a time limit or a reset."""
        return self.time_limits.is_cut(flow)

    def reset(self, client: Client) -> None:
        """Let a client see that its answer is incomplete (see `engine.interface.Addon`)."""
        connections.reset_at_end(client)

    def top_layer(self, client: Client) -> TopLayer | None:
        """Return a client's topmost layer (see `engine.interface.Addon`)."""
        return top_layer.of(connections.handler(client))

    def is_draining(self) -> bool:
        """Return whether the proxy is shutting down."""
        return self.drain.begun

    def request_head_limit(self) -> int:
        """Return the limit for request line and headers, in bytes."""
        return self.settings.rules.limits.request_head if self.settings else 0

    def response_head_limit(self) -> int:
        """Return the limit for status line and headers, in bytes."""
        return self.settings.rules.limits.response_head if self.settings else 0

    def head_time(self, client: Client) -> float:
        """Return how many seconds a client that has begun a head has for the rest."""
        self.time_limits.stop(client.id)
        return self.settings.rules.limits.head_timeout if self.settings else 0

    def await_body(self, client: Client, front: Front) -> None:
        """Watch the body of a request (see `engine.interface.Addon`)."""
        self._body_times.await_body(client, front, self._body_timeout)

    def _body_timeout(self) -> float:
        return self.settings.rules.limits.body_timeout if self.settings else 0

    def _send_timeout(self) -> float:
        return self.settings.rules.limits.send_timeout if self.settings else 0

    def await_window(self, client: Client, untaken: Callable[[], float | None]) -> None:
        """Watch a client without room for an answer (see `engine.interface.Addon`)."""
        self._send_times.await_window(client, untaken)

    def was_cut(self, flow: http.HTTPFlow, why: str) -> None:
        """Log that a transfer was cut midway (see `engine.interface.Addon`)."""
        answering.log_cut(flow, why)

    def waited(self, client: Client) -> float:
        """Return for how many seconds the proxy has waited for bytes of a client."""
        return body_times.waited(client)

    def pace(self, client: Client, connection: Connection, wanted: bool) -> None:
        """Resume reading from a connection, or pause it."""
        wide_reads.pace(connections.io(client, connection), wanted)

    def _decide(self, flow: http.HTTPFlow) -> Coroutine[Any, Any, None] | None:
        if not flow.live:
            return None  # Read from a file: a finished flow is not changed.
        in_force = self.settings
        if self._adapted and on_request.is_reverse(flow):
            in_force = self.in_force(_upstream(flow))
        if in_force is None:
            raise RuntimeError("no rules are loaded")
        setattr(flow, _IN_FORCE, in_force)
        if decision.DECISION in flow.metadata or FAILED in flow.metadata:
            # The flow is sent again.
            for mark in (FAILED, WHY, SAID, BYTES_OUT, ENDED_BY):
                flow.metadata.pop(mark, None)
            on_show.forget(flow)
        if not on_request.concerns_us(flow, in_force):
            return None
        if (
            self.dialects.unasked
            and on_request.is_for_upstream(flow)
            and self._sender(flow) == "client"
            # Otherwise it is refused at once.
            and not self._in_flight.reaches(in_force.rules.limits.flows)
        ):
            self._in_flight.begin(flow.id)
            return self._decide_later(flow)
        try:
            return self._admit(flow, in_force)
        except RefusedError as refused:
            answering.refuse(flow, refused, self._origins(flow))
            return None

    def _admit(self, flow: http.HTTPFlow, in_force: Settings) -> Coroutine[Any, Any, None] | None:
        rules = in_force.rules
        route = on_request.read(flow, in_force)
        if route.health and on_request.is_reverse(flow):
            return self._answer_health(flow, in_force, route.decision["paths"][0])
        fields = headers.read(flow.request.headers.fields)
        sender: health_service.Sender = "client"
        if health_service.PROBE_KEY in fields:
            sender = self._sender(flow)
            del flow.request.headers[health_service.PROBE_HEADER]
            if sender != "client":
                flow.metadata[decision.DECISION].update(family="health", probe=True)
            if sender == "finder":
                flow.metadata[decision.DECISION]["api"] = False  # Its answer is not changed either.
                on_request.check_sent(flow, in_force)
                return None
        if rules.forwarded.send or rules.forwarded.trusted:
            on_request.read_forwarded(flow, fields, rules)
        if sender == "client":
            if rules.allowed_hosts:
                on_request.check_host(flow, in_force)
            if flow.id not in self._in_flight and self._in_flight.reaches(rules.limits.flows):
                self._body_times.hurry(rules.limits.body_timeout)
                message = "This proxy serves as many requests at once as it may. Please try again."
                code = rules.errors.code(503)
                raise answering.denied(flow, 503, code, message, "too_many_requests")
        self._in_flight.begin(flow.id)
        if route.prefix:
            self.dialects.hint(_upstream(flow), route.prefix)
        if self.dialects.unclear and _upstream(flow) in self.dialects.unclear:
            on_dialect.remember(flow)
        on_request.send_on(flow, in_force, route, fields, self.time_limits.end)
        if flow.request.stream:
            self.time_limits.sending(flow, rules.upstream)
        return None

    def _sender(self, flow: http.HTTPFlow) -> health_service.Sender:
        return self.health.sender(flow.request.headers.get(health_service.PROBE_HEADER))

    async def _decide_later(self, flow: http.HTTPFlow) -> None:
        """Decide once the upstreams have been probed, or have taken too long to answer."""
        try:
            await self.dialects.first_answers()
            if (later := self._decide(flow)) is not None:
                await later
        except Exception:
            self._fail_closed(flow)

    async def _answer_health(self, flow: http.HTTPFlow, in_force: Settings, path: str) -> None:
        listener = Origin("http", *flow.client_conn.sockname[:2]).url
        config, draining = in_force.rules.health, self.drain.begun
        try:
            reply = await self.health.answer(path, listener, config, draining=draining)
            flow.metadata[SAID] = remarks.HEALTH
            answering.answer(flow, reply)
        except Exception:
            self._fail_closed(flow)

    def _word(self, flow: http.HTTPFlow | None, status: int, message: str) -> replies.Reply:
        in_force = (_in_force(flow) if flow is not None else None) or self.settings
        expired = self.time_limits.problem(flow) if flow is not None else None
        if expired is replies.TOO_LARGE:
            status = 413
        elif status == 408 and flow is not None:
            expired = replies.BODY_STALLED  # A late head has no flow.
        problem = replies.explain(status, message, expired)
        if problem.kind in replies.TIMEOUTS:
            status = 504
        elif problem.kind == replies.NO_FILES.kind:
            status = 503
        code = in_force.rules.errors.code(status) if in_force else "INTERNAL_ERROR"
        request_id = answering.request_id(flow)
        why = problem.refusal or problem.kind
        reply = replies.own_error(status, code, problem.sentence, problem.kind, request_id, why)
        server = f" ({flow.request.host}:{flow.request.port})" if flow and status >= 500 else ""
        decided = decision.of(flow) if flow is not None else None
        if flow is None or decided is None or self._is_news(flow, decided, problem.kind):
            answering.log(flow, reply, problem.sentence + server)
        if flow is not None and decided is not None:
            flow.metadata[SAID] = problem.sentence
            decided["answered"] = True  # No upstream answer is left to convert.
        return reply

    def _is_news(self, flow: http.HTTPFlow, decided: decision.Decision, problem: str) -> bool:
        """Return whether to log a problem: for the proxy's own probes only if it has changed."""
        if not decided["probe"]:
            return True
        address = _upstream(flow)
        before, self._unanswered[address] = self._unanswered.get(address), problem
        return before != problem

    def _origins(self, flow: http.HTTPFlow) -> Sequence[str]:
        """Return the origins whose pages may read the proxy's own answers."""
        in_force = _in_force(flow) or self.settings
        return in_force.rules.origins.allowed if in_force else ()

    def _state(self) -> State:
        return State(
            in_flight=self._in_flight.count(),
            flows_limit=self.settings.rules.limits.flows if self.settings else 0,
            draining=self.drain.begun,
            rules_current=self.health.rules == health_service.CURRENT,
            rules_read=self._rules_read,
            reloads=self._reloads,
            readiness=self.health.readiness,
            client_connections=len(connections.handlers()),
            clients_limit=self.client_limit.in_force,
            held=self._held.size(),
            held_limit=self.settings.rules.limits.held if self.settings else 0,
            upstream_connections=connections.count_upstream(),
        )

    def _ended(self, flow: http.HTTPFlow) -> None:
        self.time_limits.forget(flow.id)
        if not plug.serves(flow.client_conn) or flow.is_replay is not None:
            self._in_flight.end(flow.id, None)
        if self._view is not None:
            flow_ring.trim(self._view, self._keep_flows)

    def _fail_closed(self, flow: http.HTTPFlow) -> None:
        """Answer with an error after an exception in the addon.

        The exception must not let through a request that might have been refused, or an answer that
        might have been changed: any bytes of the upstream's answer are dropped.
        """
        flow.metadata[FAILED] = request_id = answering.log_exception(flow)
        flow.metadata[HOLD] = 0
        flow.metadata[DROPPED] = True
        flow.request.stream = False
        answering.answer(flow, answering.failure(request_id))


def _in_force(flow: http.HTTPFlow) -> Settings | None:
    settings: Settings | None = getattr(flow, _IN_FORCE, None)
    return settings


def _upstream(flow: http.HTTPFlow) -> Address:
    return flow.request.host, flow.request.port


def _options() -> dict[str, Any]:
    """Return the options that `bypasses.check` reads."""
    return {name: getattr(ctx.options, name) for name in bypasses.OPTIONS if name in ctx.options}


def _rules_path() -> Path:
    return Path(ctx.options.mlflow_rules).expanduser()


def _sources() -> tuple[Path, str | None, str]:
    """Return the arguments of `settings.read`."""
    environment = os.environ.get(gate.ENVIRONMENT)
    return _rules_path(), environment, ctx.options.mlflow_serve_artifacts
