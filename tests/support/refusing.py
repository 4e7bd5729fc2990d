"""A mitmproxy script that refuses all connections to registries."""

from __future__ import annotations

from mitmproxy.proxy.server_hooks import ServerConnectionHookData


class Refusing:
    """Refuses each attempt before it begins."""

    def server_connect(self, data: ServerConnectionHookData) -> None:
        """Refuse it."""
        data.server.error = "refused"


addons = [Refusing()]
