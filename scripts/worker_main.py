"""mitmdump on a port that another process of the same user keeps bound.

While a worker is restarted its port would be free for any program of the machine, which would get
the next requests with their credentials. So `worker.py` binds the port as well, with SO_REUSEPORT,
and never listens: Linux lets no other user in then, nor a program that does not ask for this option
(socket(7)). mitmproxy has no setting for it, and listens before it loads a script.
"""

from __future__ import annotations

import asyncio
from typing import Any

from mitmproxy.proxy.mode_servers import AsyncioServerInstance
from mitmproxy.tools.main import mitmdump


async def _listen(server: Any, host: str, port: int) -> list[asyncio.Server]:
    # TCP alone: HAProxy asks no worker for HTTP/3.
    return [await asyncio.start_server(server.handle_stream, host, port, reuse_port=True)]


if __name__ == "__main__":
    for name in ("listen", "handle_stream"):
        if not hasattr(AsyncioServerInstance, name):
            raise SystemExit(f"this mitmproxy has no AsyncioServerInstance.{name}")
    AsyncioServerInstance.listen = _listen  # type: ignore[assignment, method-assign]
    mitmdump()
