"""A mitmproxy script of the kind that people write: it waits, intercepts and sets options."""

from __future__ import annotations

import asyncio
import logging

from mitmproxy import connection, ctx, http
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

logger = logging.getLogger(__name__)


class Patient:
    """What it does stands in the query."""

    async def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Ask somebody else first."""
        if "wait" in flow.request.query:
            await asyncio.sleep(0.05)
            flow.request.headers["X-Waited"] = "yes"

    def request(self, flow: http.HTTPFlow) -> None:
        """Hold it for a while; change an option for all that follow."""
        if "intercept" in flow.request.query:
            flow.intercept()
            asyncio.get_running_loop().call_later(0.05, flow.resume)
        if "option" in flow.request.query:
            ctx.options.update(modify_headers=["/~q/X-Option/yes"])

    def client_connected(self, client: connection.Client) -> None:
        """The first of the hooks of connections; each is logged, some after a while."""
        logger.warning("%s: client_connected", client.id)

    async def server_connect(self, data: ServerConnectionHookData) -> None:
        """The request waits for it."""
        await asyncio.sleep(0.05)
        logger.warning("%s: server_connect", data.client.id)

    async def server_connected(self, data: ServerConnectionHookData) -> None:
        """The request waits for it."""
        await asyncio.sleep(0.05)
        logger.warning("%s: server_connected", data.client.id)

    def server_disconnected(self, data: ServerConnectionHookData) -> None:
        """The upstream or the proxy has closed it."""
        logger.warning("%s: server_disconnected", data.client.id)

    def client_disconnected(self, client: connection.Client) -> None:
        """The client has gone."""
        logger.warning("%s: client_disconnected", client.id)


addons = [Patient()]
