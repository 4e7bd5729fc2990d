"""Registries that speak TLS, but are slow to begin the handshake."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import h2.events
from support.client import RawHttp2
from support.fixtures import StartProxy
from support.upstream import Received, Upstream, response
from support.waiting import eventually


def echo(received: Received, connection: socket.socket) -> bool:
    """Answer with the target."""
    connection.sendall(response("200 OK", received.target.encode()))
    return True


class Slow(Upstream):
    """A registry that begins no TLS handshake until `may_begin` is set."""

    def __init__(self, certificate: Path) -> None:
        super().__init__(echo)
        self.accepted = 0
        self.may_begin = threading.Event()
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._tls.load_cert_chain(certificate)

    def _serve(self, connection: socket.socket) -> None:
        self.accepted += 1
        assert self.may_begin.wait(10)
        super()._serve(self._tls.wrap_socket(connection, server_side=True))


def test_http2_requests_at_once(certificate: Path, tmp_path: Path, start_proxy: StartProxy) -> None:
    """Each of several requests that arrive during the upstream's handshake gets its own answer."""
    settings = (f"confdir={tmp_path}", f"ssl_verify_upstream_trusted_ca={certificate}")
    options = [word for setting in settings for word in ("--set", setting)]
    with Slow(certificate) as registry:
        proxy = start_proxy(registry.url.replace("http:", "https:"), options=options)
        with RawHttp2(proxy.url, tmp_path / "mitmproxy-ca-cert.pem") as client:
            events = client.events()
            answers = {1: b"", 3: b"", 5: b""}
            for key in answers:
                target = b"/get-artifact?path=%d" % key
                head = [(b":method", b"GET"), (b":scheme", b"https"), (b":path", target)]
                client.h2.send_headers(key, [*head, (b":authority", b"a")], end_stream=True)
                client.flush()
                eventually(lambda: registry.accepted >= 1)
                client.h2.ping(bytes(8))
                client.flush()
                next(event for event in events if isinstance(event, h2.events.PingAckReceived))
            registry.may_begin.set()
            left = set(answers)
            while left:
                event = next(events)
                if isinstance(event, h2.events.DataReceived):
                    answers[event.stream_id or 0] += event.data
                elif isinstance(event, h2.events.StreamEnded):
                    left.remove(event.stream_id or 0)
    assert answers == {key: b"/get-artifact?path=%d" % key for key in answers}
