"""The registry of `limits.py`: nginx, and behind it a server that never answers or never stops."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import lab
from lab import websocket

_CONFIG = """
  keepalive_requests 100000000;
  proxy_http_version 1.1;
  proxy_read_timeout 1h;
  server {
    listen 127.0.0.1:PORT backlog=4096;
    default_type application/json;
    location / { return 200 '{"experiments": []}'; }
    location = /ajax-api/2.0/mlflow/long { alias FOLDER/long; }
    location = /ajax-api/2.0/mlflow/error { error_page 500 /page; return 500; }
    location = /page {
      internal;
      default_type text/html;
      alias FOLDER/page;
      limit_rate_after 250k;
      limit_rate 1;
    }
    location = /ajax-api/2.0/mlflow-artifacts/artifacts/large {
      default_type application/octet-stream;
      alias FOLDER/large;
    }
    # nginx reads the body of a request when it may pass, and here it waits for that.
    location = /ajax-api/2.0/mlflow-artifacts/artifacts/unread { auth_request /silent; }
    location = /silent {
      internal;
      proxy_pass http://SERVER;
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
    }
    location = /ajax-api/2.0/mlflow/messages {
      proxy_pass http://SERVER;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection upgrade;
    }
  }
"""
_MESSAGE = b"\x82\x7e" + (4096).to_bytes(2) + bytes(4096)
MIB = 2**20


@contextlib.contextmanager
def running(folder: Path) -> Iterator[lab.Server]:
    """Start both; the second one ends with this process."""
    folder.mkdir(parents=True)
    (folder / "long").write_bytes(b'{"a": "'.ljust(MIB - 2, b"x") + b'"}')
    (folder / "page").write_bytes(b"<title>Error</title>".ljust(255 * 1024))
    with (folder / "large").open("wb") as file:
        file.truncate(64 * MIB)
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    threading.Thread(target=lambda: asyncio.run(_serve(listener)), daemon=True).start()
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    config = _CONFIG.replace("FOLDER", str(folder)).replace("SERVER", address)
    with lab.nginx(folder, config, top="worker_rlimit_nofile 16384;") as server:
        yield server.wait()


async def _serve(listener: socket.socket) -> None:
    async with await asyncio.start_server(_answer, sock=listener) as server:
        await server.serve_forever()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send messages for ever to a WebSocket, and nothing to any other client."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        if b"upgrade" not in (await reader.readuntil(b"\r\n\r\n")).lower():
            await reader.read()
            return
        writer.write(websocket.SWITCH)
        while True:
            writer.write(_MESSAGE)
            await writer.drain()
