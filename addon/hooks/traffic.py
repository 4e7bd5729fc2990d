"""The way of a request through mitmproxy's hooks.

A request is read, refused or answered, rewritten, and its streaming chosen, all in
`requestheaders`: a streamed body is on its way upstream before `request` runs. The decision is kept
in the flow's state (see `routing.flow_state`), and later hooks read it there.

If an exception ends a hook, the request does not pass.
"""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, ClassVar

from mitmproxy import http

from ..engine import plug
from ..engine.responses import to_response
from ..protocol import headers
from ..registry import health_service
from ..registry.health_service import HealthService
from ..routing import admission, flow_state
from ..routing.admission import Sender
from ..routing.flow_state import METADATA, REGISTRY_OF, FlowState
from ..routing.mounts import OwnMounts
from ..routing.rewrite import Origin
from ..routing.settings import Settings
from . import answering, on_request, on_response
from .body_times import BodyTimes
from .dialects import Dialects, upstream_of
from .drain import Drain
from .in_flight import InFlight
from .own_answers import OwnAnswers
from .rules_in_force import RulesInForce
from .second_try import SecondTry
from .time_limits import TimeLimits


@dataclass(slots=True, eq=False)
class Traffic:
    """The addon for HTTP requests and answers."""

    rules: RulesInForce
    dialects: Dialects
    second_try: SecondTry
    health: HealthService
    drain: Drain
    time_limits: TimeLimits
    body_times: BodyTimes
    in_flight: InFlight
    """Requests that are being served."""
    answers: OwnAnswers
    name: ClassVar[str] = "mlflow-traffic"

    def requestheaders(self, flow: http.HTTPFlow) -> Coroutine[Any, Any, None] | None:
        """Decide on a request; return a coroutine if that has to wait, only for this flow."""
        try:
            self.time_limits.stop(flow.client_conn.id)
            if on_request.asks_for_login(flow) and self._sender(flow) != "client":
                flow.response = None  # The proxy's own probes carry no credentials for it.
            if flow.response is not None or flow.error is not None:
                return None  # Another addon has answered or killed it.
            return self._decide(flow)
        except Exception:
            self.answers.fail_closed(flow)
            return None

    def request(self, flow: http.HTTPFlow) -> Coroutine[Any, Any, None] | None:
        """Decide on a flow that did not pass `requestheaders`; check GraphQL bodies."""
        if flow.response is not None or flow.error is not None:
            return None  # Already answered or killed.
        try:
            state, later = flow_state.of(flow), None
            gone = bool(flow.request.stream)  # Already sent: a change now is too late.
            moved = not gone and state.sent != flow.request.path
            if state.route is None or moved or flow.is_replay:
                later = self._decide(flow)
                state = flow_state.of(flow)
            if state.route is not None and state.settings is not None and flow.response is None:
                if (refused := on_request.refusal_of_body(flow, state)) is not None:
                    self.answers.refuse(flow, refused)
                else:
                    self.time_limits.sent(flow, state.settings.rules.upstream)
            return later
        except Exception:
            self.answers.fail_closed(flow)
            return None

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Map redirects back; hold a body that may have to be converted, stream a large one."""
        try:
            state = flow_state.of(flow)
            if not state.failed and state.settings is not None:
                on_response.judge_head(flow, state, state.settings)
        except Exception:
            self.answers.fail_closed(flow)

    def response(self, flow: http.HTTPFlow) -> None:
        """Convert errors and login pages."""
        self._ended(flow)
        try:
            state = flow_state.of(flow)
            if state.failed:
                # The upstream's answer may have replaced ours since.
                reply = self.answers.after_failure(flow)
                flow.response = to_response(reply, flow.request.method)
                return
            if state.first is not None:
                state = self.second_try.settle(flow, state, state.first)
            if state.settings is None:
                return
            self.answers.has_answered(flow, state)
            unclear = self.dialects.watch.unclear
            hint = self.dialects.hint(flow, state) if unclear else ""
            if on_response.judge_body(flow, state, state.settings, hint=hint):
                self.dialects.watch.doubt(upstream_of(flow))
        except Exception:
            self.answers.fail_closed(flow)

    def error(self, flow: http.HTTPFlow) -> None:
        """A flow has ended without a response."""
        self._ended(flow)

    def may_go(self, flow: http.HTTPFlow) -> bool:
        """Return whether a request may go upstream (see `engine.interface.Addon`)."""
        try:
            in_force = flow_state.of(flow).settings or self.rules.get()
            refused = on_request.refusal_of_sent(flow, in_force)
            if refused is None and in_force.own is not None:
                refused = on_request.refusal_of_moved(flow, in_force, in_force.own)
            if refused is None:
                on_request.add_credentials(flow, in_force)
                return True
            self.answers.refuse(flow, refused)
        except Exception:
            self.answers.fail_closed(flow)
        return False

    def may_pass(self, flow: http.HTTPFlow, begin: bytes) -> bool | None:
        """Return whether a held body passes after all (see `engine.interface.Addon.let_go`)."""
        try:
            return on_response.may_pass(flow, begin)
        except Exception:
            self.answers.fail_closed(flow)
            return False

    def goes_again(self, flow: http.HTTPFlow) -> bool:
        """Return whether to send a request again (see `engine.interface.Addon`)."""
        try:
            return self.second_try.begin(flow)
        except Exception:
            self.answers.fail_closed(flow)
            return False

    def refuse_to_hold(self, flow: http.HTTPFlow) -> None:
        """Answer a request whose bodies there is no room to hold (see `engine.interface.Addon`)."""
        try:
            asked = on_request.as_it_is(flow, None)
            self.answers.refuse(flow, admission.too_much_held(asked, self.rules.get().rules))
        except Exception:
            self.answers.fail_closed(flow)

    def _decide(self, flow: http.HTTPFlow) -> Coroutine[Any, Any, None] | None:
        if not flow.live:
            return None  # Read from a file: a finished flow is not changed.
        reverse = on_request.is_reverse(flow)
        in_force = self.dialects.of(flow) if reverse else self.rules.get()
        state = flow_state.of(flow)
        if state.route is not None or state.failed:
            # The flow is sent again.
            state = flow_state.put(flow, FlowState(state.authority))
        if not reverse and not on_request.concerns_us(flow, in_force):
            return None
        sender = self._sender(flow)
        if in_force.own is not None and reverse:
            in_force = self._of_mount(flow, in_force.own, sender) or in_force
        if (
            self.dialects.watch.unasked
            and sender == "client"
            and self.dialects.is_unasked(flow, in_force)
            and on_request.is_for_upstream(flow)
            # Otherwise it is refused at once.
            and not self.in_flight.reaches(in_force.rules.limits.flows)
        ):
            self.in_flight.begin(flow.id)
            return self._decide_later(flow, in_force)
        return self._admit(flow, state, in_force, sender)

    def _of_mount(self, flow: http.HTTPFlow, own: OwnMounts, sender: Sender) -> Settings | None:
        """Return the settings of the request's mount if it has an upstream of its own."""
        if (before := flow.metadata.get(METADATA)) is not None:
            found = own.get(before.get(REGISTRY_OF, ""))  # Its path has no mount any more.
        elif sender == "finder":
            found = own.get(self.health.mount(self._mark(flow)))
        else:
            found = own.covering(flow.request.path.partition("?")[0])
        return found and self.dialects.of_mount(found)

    def _admit(
        self, flow: http.HTTPFlow, state: FlowState, in_force: Settings, sender: Sender
    ) -> Coroutine[Any, Any, None] | None:
        if in_force.mount is not None and METADATA not in flow.metadata:
            on_request.send_to(flow, in_force.mount, keeps_host=self.rules.keeps_host)
        asked = on_request.begin(flow, state, in_force, sender)
        if health_service.PROBE_KEY in asked.fields:
            del flow.request.headers[health_service.PROBE_HEADER]
        if sender != "client":
            state.family, state.probe = "health", True

        def is_full() -> bool:
            limits = in_force.rules.limits
            full = flow.id not in self.in_flight and self.in_flight.reaches(limits.flows)
            if full:
                self.body_times.hurry(limits.body_timeout)
            return full

        if (refused := admission.admit(state, asked, is_full=is_full)) is not None:
            self.answers.refuse(flow, refused)
            return None
        if state.route is None:
            raise RuntimeError("a request was admitted without a route")
        if state.route.health and asked.reverse:
            return self._answer_health(flow, in_force, state.route.paths[0])
        if sender == "finder":
            state.api = False  # Its answer is not changed either.
            return None
        self.in_flight.begin(flow.id)
        if state.route.prefix:
            self.dialects.watch.hint(upstream_of(flow), state.route.prefix)
        if self.dialects.watch.unclear:
            self.second_try.remember(flow, state)
        on_request.send_on(flow, state, asked, self.time_limits.end)
        if flow.request.stream:
            self.time_limits.sending(flow, in_force.rules.upstream)
        return None

    def _sender(self, flow: http.HTTPFlow) -> Sender:
        return self.health.sender(self._mark(flow))

    def _mark(self, flow: http.HTTPFlow) -> str | None:
        return headers.text(headers.read(flow.request.headers.fields), health_service.PROBE_KEY)

    async def _decide_later(self, flow: http.HTTPFlow, in_force: Settings) -> None:
        """Decide once the upstream has been probed, or has taken too long to answer."""
        try:
            await self.dialects.first_answers(flow, in_force)
            if (later := self._decide(flow)) is not None:
                await later
        except Exception:
            self.answers.fail_closed(flow)

    async def _answer_health(self, flow: http.HTTPFlow, in_force: Settings, path: str) -> None:
        listener = Origin("http", *flow.client_conn.sockname[:2]).url
        try:
            reply = await self.health.answer(
                path,
                listener + in_force.rules.mounts_longest_first[-1],
                in_force.rules.health,
                rules=self.rules.state,
                draining=self.drain.begun,
                mount=in_force.mount.path if in_force.mount else "",
            )
            flow_state.of(flow).said = answering.HEALTH
            answering.answer(flow, reply)
        except Exception:
            self.answers.fail_closed(flow)

    def _ended(self, flow: http.HTTPFlow) -> None:
        self.time_limits.forget(flow.id)
        if not plug.serves(flow.client_conn) or flow.is_replay is not None:
            self.in_flight.end(flow.id, None)
