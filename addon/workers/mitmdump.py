"""Runs mitmdump on a port that another process of the same user keeps bound.

Otherwise, while a worker is restarted, any program on the machine could take its port and get the
next requests with their credentials. So `worker.py` binds the port as well, with SO_REUSEPORT, and
never listens: then Linux refuses other users, and programs that do not set this option (socket(7)).
mitmproxy has no setting for it, and listens before it loads a script.
"""

from __future__ import annotations

import asyncio
from typing import Any

from mitmproxy.proxy.mode_servers import AsyncioServerInstance
from mitmproxy.tools.main import mitmdump


async def _listen(server: Any, host: str, port: int) -> list[asyncio.Server]:
    # Only TCP: HAProxy does not use HTTP/3 to workers.
    return [await asyncio.start_server(server.handle_stream, host, port, reuse_port=True)]


if __name__ == "__main__":
    for name in ("listen", "handle_stream"):
        if not hasattr(AsyncioServerInstance, name):
            raise SystemExit(f"this mitmproxy has no AsyncioServerInstance.{name}")
    AsyncioServerInstance.listen = _listen  # type: ignore[assignment, method-assign]
    mitmdump()
