"""Everything that the proxy knows about one flow, from its first byte to its line in the log.

The object hangs on the flow. A request that is sent again gets a new one, so that nothing of the
first time can leak into the second.
"""

from __future__ import annotations

from dataclasses import dataclass, field
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

REGISTRY_OF = "registry_of"
"""Key there with the mount to whose own upstream the flow goes; missing in other flows."""

_ATTRIBUTE = "mlflow_state"


@dataclass(slots=True, eq=False)
class FlowState:
    """The state of a flow. A field keeps its default until the step that sets it.

    Few fields are arguments: an object is made for each request, and each argument takes time.
    """

    # The request as it came.
    authority: str = ""
    """The host that the client asked for, which reverse mode overwrites."""
    forwarded: Forwarded | None = field(default=None, init=False)
    """The same as proxies in front saw it, if the rules need that."""
    received: str = field(default="", init=False)
    """Its path, safe to show (see `target.shown`)."""
    mount: str = field(default="", init=False)
    """The prefix that the proxy removes from the path."""

    # The decision, which is made once.
    settings: Settings | None = field(default=None, init=False)
    """The settings in force when the flow began, so that it never sees a mix of two."""
    route: Route | None = field(default=None, init=False)
    """The meaning of the path; None if the flow is not for MLflow."""
    sent: str = field(default="", init=False)
    """Path and query that go upstream."""
    api: bool = field(default=False, init=False)
    """Whether errors have to be JSON."""
    family: Family = field(default="other", init=False)
    """The purpose of the request; "health" also for the proxy's own probes."""
    probe: bool = field(default=False, init=False)
    """Whether the proxy itself sent it: for a health check, or to detect the dialect."""
    artifact: bool = field(default=False, init=False)
    """Whether the bodies are artifacts."""
    file: bool = field(default=False, init=False)
    """Whether the answer is the bytes of an artifact, which may be HTML."""
    graphql_fields: tuple[str, ...] = field(default=(), init=False)
    """The GraphQL fields that the body must not contain."""
    names: Names | None = field(default=None, init=False)
    """The ids (see `request_ids`) with which it went upstream; None if it did not."""
    websocket_key: bytes = field(default=b"", init=False)
    """The key of a WebSocket handshake; empty if the request may not switch protocols."""
    authorization: bytes = field(default=b"", init=False, repr=False)
    """The credentials that the proxy adds as the request is written, and nowhere else."""
    whole: bool = field(default=False, init=False)
    """Whether the body has to be read before any of it goes upstream."""
    retried: bool = field(default=False, init=False)
    """Whether the request must not be retried: it was, or a retry cannot help."""
    first: FirstTry | None = field(default=None, init=False)
    """The result of the first try, if this is the second one."""
    asked: str = field(default="", init=False)
    """Path and query as the client sent them, if a second try may need them."""

    # The answer.
    upstream_status: int | None = field(default=None, init=False)
    """The upstream's status."""
    login: str | None = field(default=None, init=False)
    """The place of the login page that the upstream redirects to."""
    page: bool = field(default=False, init=False)
    """Whether the answer may be an unwanted page."""
    secure: str | None = field(default=None, init=False)
    """The URL that has to be used for the upstream, if it only redirects to https."""
    hold: int | None = field(default=None, init=False)
    """How many bytes of the body to hold before it is judged; None if it is not to be judged."""
    dropped: bool = field(default=False, init=False)
    """Whether only the bytes of the body held so far are needed."""
    converted: Conversion | Literal[""] = field(default="", init=False)
    """The kind of answer that was converted; "" if none was."""
    original: Answer | None = field(default=None, init=False)
    """The upstream's answer, if it was converted."""

    # The end.
    answered: bool = field(default=False, init=False)
    """Whether the proxy itself answered."""
    answered_late: bool = field(default=False, init=False)
    """Whether an addon answered a request that was already on its way upstream."""
    failed: str = field(default="", init=False)
    """The request id of a flow that an exception in this addon has ended."""
    why: str = field(default="", init=False)
    """Why the proxy answered with its own error (see `Reply.why`)."""
    said: str = field(default="", init=False)
    """The same in words, for every answer of the proxy itself."""
    ended_by: EndedBy | None = field(default=None, init=False)
    bytes_in: int = field(default=0, init=False)
    """Bytes of a request body that were streamed, or had come when it broke."""
    bytes_out: int = field(default=0, init=False)
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
