"""Send a request that finds no API under one prefix again under the other prefix.

The client gets the better answer, and the two answers say what the upstream's dialect is.
"""

from __future__ import annotations

from mitmproxy import http

from ..protocol import bodies
from ..registry import learned
from ..registry.answers import Answer
from ..registry.dialect import Dialect
from ..routing import admission, flow_state
from ..routing.flow_state import METADATA, FirstTry, FlowState
from . import on_request
from .dialects import Dialects, upstream_of
from .time_limits import TimeLimits


class SecondTry:
    """Decides whether there is one, and which answer counts.

    Args:
        dialects: the known dialects.
        time_limits: limits the second try.
    """

    def __init__(self, dialects: Dialects, time_limits: TimeLimits) -> None:
        self._dialects = dialects
        self._time_limits = time_limits

    def remember(self, flow: http.HTTPFlow, state: FlowState) -> None:
        """Keep the path that the client sent, before it is rewritten."""
        if flow.is_replay is None and upstream_of(flow) in self._dialects.watch.unclear:
            state.asked = flow.request.path

    def begin(self, flow: http.HTTPFlow) -> bool:
        """Rewrite a request for the other dialect, if it is worth a second try.

        Args:
            flow: with its complete first answer.

        Returns:
            Whether to send the request in the flow; otherwise nothing has changed.
        """
        state, response, request = flow_state.of(flow), flow.response, flow.request
        if response is None or not _may_go_again(flow, state, response):
            return False
        if (other := self._dialects.the_other(upstream_of(flow), state)) is None:
            return False
        kept = FirstTry(state, response, request.headers.copy())
        path, request.path = request.path, state.asked
        metadata = flow.metadata.pop(METADATA)
        again = flow_state.put(flow, FlowState(state.authority))
        again.first = kept
        again.forwarded = state.forwarded  # The headers that it was read from are rewritten.
        asked = on_request.begin(flow, again, other)
        refused = admission.admit(again, asked)
        if refused is None:
            on_request.send_on(flow, again, asked, self._time_limits.end)
            refused = on_request.refusal_of_body(flow, again)
        if refused is None and request.path != path:
            flow.response = None
            again.bytes_in = state.bytes_in
            self._time_limits.sent(flow, other.rules.upstream)
            return True
        request.path, request.headers = path, kept.headers
        flow.metadata[METADATA] = metadata
        flow_state.put(flow, state)
        return False

    def settle(self, flow: http.HTTPFlow, state: FlowState, kept: FirstTry) -> FlowState:
        """Choose between the answers of a flow that has ended, and learn the upstream's dialect.

        Args:
            flow: with the second answer.
            state: of the second try.
            kept: the result of the first one.

        Returns:
            The state of the try that counts.
        """
        response = flow.response
        if state.answered or response is None or state.settings is None:
            return state
        if not response.stream and learned.is_no_better(_answer(response)):
            flow.response, flow.request.headers = kept.response, kept.headers
            flow.request.path = kept.state.sent
            return flow_state.put(flow, kept.state)
        if not state.artifact:
            # An artifact says nothing: a file may have any content, JSON too.
            address, upstream = upstream_of(flow), state.settings.rules.upstream
            speaks: Dialect = "ajax" if upstream.is_external(*address[:2]) else "standard"
            found = learned.finding(
                *(speaks, upstream.base_path, _answer(kept.response), _answer(response)),
                streamed=bool(response.stream),
            )
            if found:
                self._dialects.watch.learn(address, found)
        return state


def _may_go_again(flow: http.HTTPFlow, state: FlowState, response: http.Response) -> bool:
    return (
        bool(state.asked)
        and state.first is None
        and state.route is not None
        and not state.answered
        and not (flow.request.stream or flow.request.trailers)
        and learned.may_ask_twice(flow.request.method, state.route.paths[0])
        and learned.is_missing(_answer(response))
    )


def _answer(response: http.Response) -> Answer:
    headers = response.headers
    body = bodies.decode(response.raw_content or b"", headers.get("content-encoding", ""))
    return Answer(
        response.status_code,
        headers.get("content-type", ""),
        body.content if body else b"",
        headers.get("location", ""),
    )
