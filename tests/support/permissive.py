"""An addon for the engine that permits everything."""

from __future__ import annotations

from typing import Any

from addon.engine.turns import Slots
from addon.errors.replies import Reply, json_reply
from addon.rules.model import Limits

_LIMITS = Limits(request_head=1 << 20, response_head=1 << 20)


class Permissive:
    """Permits everything; see `addon.engine.interface.Addon`."""

    def __init__(self) -> None:
        self.slots = Slots(1e9)
        """Turns never end, so that timing does not affect the result."""
        self.cut: set[Any] = set()
        """Upstream connections that were reset."""
        self.was_reset = False
        """Whether the client's connection is to end with a reset."""

    def own_reply(self, _flow: Any, status: int, message: str) -> Reply:
        """See `Addon`."""
        return json_reply(status, {"error": message})

    def top_layer(self, _client: Any) -> Any:
        """See `Addon`."""

    def over(self, _flow: Any) -> None:
        """See `Addon`."""

    def keeps_messages(self) -> bool:
        """See `Addon`."""
        return True

    def refused(self, _client: Any, _reply: Reply) -> None:
        """See `Addon`."""

    def may_go(self, _flow: Any) -> bool:
        """See `Addon`."""
        return True

    def let_go(self, _flow: Any, _begin: bytes) -> bool | None:
        """See `Addon`."""
        return True

    def goes_again(self, _flow: Any) -> bool:
        """See `Addon`."""
        return False

    def is_cut(self, flow: Any) -> bool:
        """See `Addon`."""
        return flow.server_conn in self.cut

    def reset(self, _client: Any) -> None:
        """See `Addon`."""
        self.was_reset = True

    def is_draining(self) -> bool:
        """See `Addon`."""
        return False

    def limits(self) -> Limits:
        """See `Addon`."""
        return _LIMITS

    def head_time(self, _client: Any) -> float:
        """See `Addon`."""
        return 3600

    def has_room(self, _client: Any, _connection: Any) -> bool:
        """See `Addon`."""
        return True

    def hold(self, _flow: Any, _more: int) -> bool:
        """See `Addon`."""
        return True

    def hold_head(self, _client: Any, _size: int) -> bool:
        """Always."""
        return True

    def refuse_to_hold(self, _flow: Any) -> None:
        """See `Addon`."""

    def await_window(self, _client: Any, _untaken: Any) -> None:
        """See `Addon`."""

    def await_body(self, _client: Any, _front: Any) -> None:
        """See `Addon`."""

    def waited(self, _client: Any) -> float:
        """See `Addon`."""
        return 0

    def was_cut(self, _flow: Any, _why: str) -> None:
        """See `Addon`."""

    def pace(self, _client: Any, _connection: Any, _wanted: bool) -> None:
        """See `Addon`."""
