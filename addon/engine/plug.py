"""Plug the engine in, in the hook `next_layer`."""

from __future__ import annotations

from typing import Any

from mitmproxy import ctx
from mitmproxy.connection import Client
from mitmproxy.proxy.layer import NextLayer
from mitmproxy.proxy.layers.http import HttpLayer
from mitmproxy.proxy.mode_specs import ReverseMode

from .interface import Addon
from .layer import Engine


def choose(data: NextLayer, addon: Addon) -> None:
    """Put the engine where mitmproxy would put its own HTTP layer in reverse mode.

    mitmproxy calls scripts before its own addon, so this calls that addon first.
    """
    if data.layer is not None:
        return
    if not serves(data.context.client):
        return
    if (own := ctx.master.addons.get("nextlayer")) is not None:
        own.next_layer(data)
    if isinstance(data.layer, HttpLayer):
        data.layer = _engine(data.layer, addon)
        return
    parent: Any = data.layer
    while (child := getattr(parent, "child_layer", None)) is not None:
        if isinstance(child, HttpLayer):
            parent.child_layer = _engine(child, addon)
            return
        parent = child


def serves(client: Client) -> bool:
    """Return whether the engine serves a client; mitmproxy's own layer serves HTTP/3."""
    mode = client.proxy_mode
    tcp = client.transport_protocol == "tcp"
    return tcp and isinstance(mode, ReverseMode) and "http" in mode.scheme


def _engine(own: HttpLayer, addon: Addon) -> Engine:
    context = own.context
    context.layers.remove(own)
    return Engine(context, addon)
