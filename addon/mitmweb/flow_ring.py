"""A limit on the flows that mitmweb and mitmproxy keep.

They keep all flows, with their bodies, until a user clears them
(https://github.com/mitmproxy/mitmproxy/issues/4129); mitmdump keeps none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..internals.place import Part
from ..internals.still_there import lacks
from . import shown

if TYPE_CHECKING:
    from mitmproxy.addons.view import View

DEFAULT = 2000
"""Flows; with bodies of up to `streaming.threshold` each."""


def trim(view: View, most: int) -> None:
    """Remove the oldest flows, down to nine tenths of the limit, if there are too many.

    Flows that a person has marked stay. So do those in flight, because removing one kills it.

    Args:
        view: mitmproxy's addon that holds the flows.
        most: the limit; 0 for none.
    """
    if not most or lacks(Part.FLOWS) or view.store_count() <= most:
        return
    ended = [
        flow for flow in view.resolve("@all") if not (flow.live or shown.is_marked_by_hand(flow))
    ]
    for flow in ended[: view.store_count() - most * 9 // 10]:
        view.remove([flow])  # One by one: mitmproxy logs the removal of several at once.
