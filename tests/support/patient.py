"""A mitmproxy script of the kind that people write: it waits, intercepts and sets options."""

from __future__ import annotations

import asyncio

from mitmproxy import ctx, http


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


addons = [Patient()]
