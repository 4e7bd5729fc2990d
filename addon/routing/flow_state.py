"""Everything that the proxy knows about one flow, from its first byte to its line in the log.

The object hangs on the flow. A request that is sent again gets a new one, so that nothing of the
first time can leak into the second.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from .families import Family

if TYPE_CHECKING:
    from mitmproxy import flow

    from ..errors.upstream import Answer
    from ..protocol.request_ids import Names
    from .forwarded import Forwarded
    from .routes import Route
    from .settings import Settings

Conversion = Literal["login_redirect", "login_page", "https_redirect", "html", "json", "other"]
"""Kinds of answers that are converted: a redirect to a login or to https, a page, an error."""

EndedBy = Literal["client", "upstream", "proxy"]
"""The side that ended a flow early."""

METADATA = "mlflow"
"""Key in `flow.metadata` with plain values, which survive in copies of a flow and in flow files."""

_ATTRIBUTE = "mlflow_state"


@dataclass(slots=True, eq=False)
class FlowState:
    """The state of a flow. A field keeps its default until the step that sets it."""

    # The request as it came.
    authority: str = ""
    """The host that the client asked for, which reverse mode overwrites."""
    forwarded: Forwarded | None = None
    """The same as proxies in front saw it, if the rules need that."""
    received: str = ""
    """Its path, safe to show (see `target.shown`)."""
    mount: str = ""
    """The prefix that the proxy removes from the path."""

    # The decision, which is made once.
    settings: Settings | None = None
    """The settings in force when the flow began, so that it never sees a mix of two."""
    route: Route | None = None
    """The meaning of the path; None if the flow is not for MLflow."""
    sent: str = ""
    """Path and query that go upstream."""
    api: bool = False
    """Whether errors have to be JSON."""
    family: Family = "other"
    """The purpose of the request; "health" also for the proxy's own probes."""
    probe: bool = False
    """Whether the proxy itself sent it: for a health check, or to detect the dialect."""
    artifact: bool = False
    """Whether the bodies are artifacts."""
    file: bool = False
    """Whether the answer is the bytes of an artifact, which may be HTML."""
    graphql_fields: tuple[str, ...] = ()
    """The GraphQL fields that the body must not contain."""
    names: Names | None = None
    """The ids (see `request_ids`) with which it went upstream; None if it did not."""
    websocket_key: bytes = b""
    """The key of a WebSocket handshake; empty if the request may not switch protocols."""
    whole: bool = False
    """Whether the body has to be read before any of it goes upstream."""
    retried: bool = False
    """Whether the request must not be retried: it was, or a retry cannot help."""
    first: FirstTry | None = None
    """The result of the first try, if this is the second one."""
    asked: str = ""
    """Path and query as the client sent them, if a second try may need them."""

    # The answer.
    upstream_status: int | None = None
    """The upstream's status."""
    login: str | None = None
    """The place of the login page that the upstream redirects to."""
    page: bool = False
    """Whether the answer may be an unwanted page."""
    secure: str | None = None
    """The URL that has to be used for the upstream, if it only redirects to https."""
    hold: int | None = None
    """How many bytes of the body to hold before it is judged; None if it is not to be judged."""
    dropped: bool = False
    """Whether only the bytes of the body held so far are needed."""
    converted: Conversion | Literal[""] = ""
    """The kind of answer that was converted; "" if none was."""
    original: Answer | None = None
    """The upstream's answer, if it was converted."""

    # The end.
    answered: bool = False
    """Whether the proxy itself answered."""
    answered_late: bool = False
    """Whether an addon answered a request that was already on its way upstream."""
    failed: str = ""
    """The request id of a flow that an exception in this addon has ended."""
    why: str = ""
    """Why the proxy answered with its own error (see `Reply.why`)."""
    said: str = ""
    """The same in words, for every answer of the proxy itself."""
    ended_by: EndedBy | None = None
    bytes_in: int = 0
    """Bytes of a request body that were streamed, or had come when it broke."""
    bytes_out: int = 0
    """Bytes of a response body that were streamed."""

    def begin(self, route: Route, settings: Settings, path: str) -> None:
        """Take the meaning of the path.

        Args:
            route: the route.
            settings: the settings that it was found by.
            path: path and query as they are in the request.
        """
        self.route, self.settings, self.sent = route, settings, path
        self.received, self.mount = route.shown, route.mount
        self.api, self.family, self.artifact = route.api, route.family, route.artifact


@dataclass(frozen=True, slots=True)
class FirstTry:
    """The result of a request under the first prefix; `dialect` describes the second try."""

    state: FlowState
    response: Any
    """mitmproxy's response."""
    headers: Any
    """mitmproxy's headers of the request."""


def of(flow: flow.Flow) -> FlowState:
    """Return the state of a flow; a new one for a flow that the engine did not begin."""
    state: FlowState | None = getattr(flow, _ATTRIBUTE, None)
    return put(flow, FlowState()) if state is None else state


def put(flow: flow.Flow, state: FlowState) -> FlowState:
    """Give a flow this state, and return it."""
    setattr(flow, _ATTRIBUTE, state)
    return state
