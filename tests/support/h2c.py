"""A server that switches to HTTP/2 for every client that asks for it, in any spelling of h2c.

It is an answer for `support.upstream`. Like a real server, it answers the request that asked,
and then all requests inside the connection.
"""

from __future__ import annotations

import socket

import h2.config
import h2.connection
import h2.events

from .upstream import OK, Received

SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"


class H2c:
    """Answers over HTTP/2 if asked to, otherwise over HTTP/1.1."""

    def __init__(self) -> None:
        self.inside: list[str] = []
        """Targets of the requests that came inside switched connections."""
        self.switched = 0

    def __call__(self, received: Received, connection: socket.socket) -> bool:
        """Answer a request; return whether the connection stays open."""
        if "h2c" not in ",".join(received.header("upgrade")).lower():
            connection.sendall(OK)
            return True
        self.switched += 1
        connection.sendall(SWITCH)
        http2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        http2.initiate_upgrade_connection(b"")
        waiting = [1]
        while True:
            for stream in waiting:
                http2.send_headers(stream, [(":status", "200")])
                http2.send_data(stream, b"over HTTP/2", end_stream=True)
            connection.sendall(http2.data_to_send())
            if not (data := connection.recv(65536)):
                return False
            waiting = []
            for event in http2.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    self.inside.append(dict(event.headers)[b":path"].decode())
                    waiting.append(event.stream_id)
