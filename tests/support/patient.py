"""A typical mitmproxy script of a user: it waits, intercepts and sets options."""

from __future__ import annotations

import asyncio
import logging

from mitmproxy import connection, ctx, http
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

logger = logging.getLogger(__name__)


class Patient:
    """Does what the query of a request says."""

    async def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Wait a little, as for another service."""
        if "wait" in flow.request.query:
            await asyncio.sleep(0.05)
            flow.request.headers["X-Waited"] = "yes"

    def request(self, flow: http.HTTPFlow) -> None:
        """Intercept a request for a while; set an option for all later requests."""
        if "intercept" in flow.request.query:
            flow.intercept()
            asyncio.get_running_loop().call_later(0.05, flow.resume)
        if "option" in flow.request.query:
            ctx.options.update(modify_headers=["/~q/X-Option/yes"])

    def client_connected(self, client: connection.Client) -> None:
        """Log the first of the connection hooks; each is logged, some after a wait."""
        logger.warning("%s: client_connected", client.id)

    async def server_connect(self, data: ServerConnectionHookData) -> None:
        """Log after a wait; the request waits for this hook."""
        await asyncio.sleep(0.05)
        logger.warning("%s: server_connect", data.client.id)

    async def server_connected(self, data: ServerConnectionHookData) -> None:
        """Log after a wait; the request waits for this hook."""
        await asyncio.sleep(0.05)
        logger.warning("%s: server_connected", data.client.id)

    def server_disconnected(self, data: ServerConnectionHookData) -> None:
        """Log that the upstream or the proxy has closed the connection."""
        logger.warning("%s: server_disconnected", data.client.id)

    def client_disconnected(self, client: connection.Client) -> None:
        """Log that the client has gone."""
        logger.warning("%s: client_disconnected", client.id)


addons = [Patient()]
