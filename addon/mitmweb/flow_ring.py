"""A bound on the flows that mitmweb and mitmproxy keep.

They keep all, with their bodies, until somebody clears them
(https://github.com/mitmproxy/mitmproxy/issues/4129); mitmdump keeps none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..hooks import on_show
from ..internals.reached_into import Part
from ..internals.still_there import lacks

if TYPE_CHECKING:
    from mitmproxy.addons.view import View

DEFAULT = 2000
"""Flows; with bodies of up to `streaming.threshold` each."""


def trim(view: View, most: int) -> None:
    """Forget the oldest flows, down to nine tenths, when there are more than allowed.

    Flows that a person has marked stay, and so do those in flight: to remove one of these kills it.

    Args:
        view: what holds the flows.
        most: so many may be held; 0 stands for any number.
    """
    if not most or lacks(Part.FLOWS) or view.store_count() <= most:
        return
    ended = [
        flow for flow in view.resolve("@all") if not (flow.live or on_show.is_marked_by_hand(flow))
    ]
    for flow in ended[: view.store_count() - most * 9 // 10]:
        view.remove([flow])  # One by one: several at once are announced in the log.
