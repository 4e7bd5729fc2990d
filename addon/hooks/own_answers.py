"""The proxy's own answers: refusals, failures of the upstream, exceptions in this addon."""

from __future__ import annotations

from mitmproxy import http

from ..errors import replies
from ..registry.dialect_watch import Address
from ..routing import flow_state
from ..routing.admission import Refused
from ..routing.flow_state import FlowState
from . import answering
from .dialects import upstream_of
from .rules_in_force import RulesInForce
from .time_limits import TimeLimits


class OwnAnswers:
    """Words and sends them.

    Args:
        rules: the rules in force.
        time_limits: the reasons for which flows were cut.
    """

    def __init__(self, rules: RulesInForce, time_limits: TimeLimits) -> None:
        self._rules = rules
        self._time_limits = time_limits
        self._unanswered: dict[Address, str] = {}
        """The last error of the proxy's own probes, by upstream."""

    def refuse(self, flow: http.HTTPFlow, refused: Refused) -> None:
        """Answer with a refusal or a redirect; log it if it is an error."""
        reply = self._for_page(flow, refused.reply)
        if reply.status >= 400:
            answering.log(flow, reply, refused.why)
        flow_state.of(flow).said = refused.why
        answering.answer(flow, reply)

    def fail_closed(self, flow: http.HTTPFlow) -> None:
        """Answer with an error after an exception in the addon.

        The exception must not let through a request that might have been refused, or an answer that
        might have been changed: any bytes of the upstream's answer are dropped.
        """
        state = flow_state.of(flow)
        state.failed = answering.log_exception(flow)
        state.hold, state.dropped = 0, True
        flow.request.stream = False
        answering.answer(flow, answering.failure(state.failed))

    def after_failure(self, flow: http.HTTPFlow) -> replies.Reply:
        """Return the final answer to a flow that an exception has ended."""
        return self._for_page(flow, answering.failure(flow_state.of(flow).failed))

    def to_error(self, flow: http.HTTPFlow | None, status: int, message: str) -> replies.Reply:
        """Return the answer for an error (see `engine.interface.Addon.own_reply`)."""
        try:
            reply = self._word(flow, status, message)
        except Exception:
            reply = answering.failure(answering.log_exception(flow))
        if flow is not None:
            answering.note(flow, reply)
            reply = self._for_page(flow, reply)
        return reply

    def has_answered(self, flow: http.HTTPFlow, state: FlowState) -> None:
        """Note that an upstream has answered, if that is news for the log."""
        if self._unanswered and state.probe and not state.answered:
            self._unanswered.pop(upstream_of(flow), None)

    def _word(self, flow: http.HTTPFlow | None, status: int, message: str) -> replies.Reply:
        state = flow_state.of(flow) if flow is not None else None
        in_force = (state.settings if state else None) or self._rules.settings
        expired = self._time_limits.problem(flow) if flow is not None else None
        if expired is replies.TOO_LARGE:
            status = 413
        elif status == 408 and flow is not None:
            expired = replies.BODY_STALLED  # A late head has no flow.
        elif status == 503 and flow is None:
            expired = replies.TOO_MUCH_HELD  # The only refusal of this status before a flow.
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
        if flow is None or state is None or self._is_news(flow, state, problem.kind):
            answering.log(flow, reply, problem.sentence + server)
        if state is not None:
            state.said = problem.sentence
            state.answered = True  # No upstream answer is left to convert.
        return reply

    def _is_news(self, flow: http.HTTPFlow, state: FlowState, problem: str) -> bool:
        """Return whether to log a problem: for the proxy's own probes only if it has changed."""
        if not state.probe:
            return True
        address = upstream_of(flow)
        before, self._unanswered[address] = self._unanswered.get(address), problem
        return before != problem

    def _for_page(self, flow: http.HTTPFlow, reply: replies.Reply) -> replies.Reply:
        in_force = flow_state.of(flow).settings or self._rules.settings
        return answering.for_page(flow, reply, in_force.rules.origins.allowed if in_force else ())
