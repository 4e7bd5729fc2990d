"""Read the requests of a client's HTTP/2 connection: many at once, a few frames at a time."""

from __future__ import annotations

import time
from functools import partial

import h2.errors
import h2.events
import h2.exceptions

from . import asking
from .downloads import Stream
from .exchange import Exchange
from .http2_connection import Http2Connection
from .http2_fields import read_request


def read_on(client: Http2Connection) -> None:
    """Read the buffered bytes for one turn."""
    if client.closed or client.reading:
        return
    if not client.turns.resting:
        _read(client)
    client.pace(client.turns.resting and bool(client.buffer))


def _read(client: Http2Connection) -> None:
    client.reading = True
    client.turns.begin()
    try:
        while not client.closed and (end := client.frames.portion(client.buffer)):
            portion, client.buffer = client.buffer[:end], client.buffer[end:]
            for event in client.h2.receive_data(portion):
                if not client.closed:
                    _on_event(client, event)
            if client.buffer and client.turns.is_over:
                client.turns.rest(partial(read_on, client))
                break
    except h2.exceptions.ProtocolError:
        client.reading = False
        client.engine.log("HTTP/2 protocol error")
        client.end_all("HTTP/2 protocol error")
        client.flush()  # The GOAWAY frame with the reason.
        client.close()
        return
    finally:
        client.reading = False
    if any(not stream.whole for stream in client.streams.values()):
        client.addon.await_body(client.conn, client)
    client.flush()


def _on_event(client: Http2Connection, event: h2.events.Event) -> None:
    if isinstance(event, h2.events.RequestReceived):
        _begin(client, event)
    elif isinstance(event, h2.events.DataReceived):
        _on_data(client, event.stream_id, event.data, event.flow_controlled_length)
    elif isinstance(event, h2.events.StreamEnded):
        if (stream := client.streams.get(event.stream_id)) is not None:
            stream.whole = True
            client.uploads.forget(event.stream_id)
            asking.end(stream.exchange)
    elif isinstance(event, h2.events.StreamReset):
        _reset(client, event.stream_id, f"stream reset by client ({event.error_code})")
    elif isinstance(event, h2.events.WindowUpdated):
        keys = [event.stream_id] if event.stream_id else [*client.streams]
        for key in keys:
            client.downloads.send(key)
    elif isinstance(event, h2.events.RemoteSettingsChanged):
        for key in [*client.streams]:
            client.downloads.send(key)
    elif isinstance(event, h2.events.ConnectionTerminated):
        client.end_all("Client disconnected.")
        client.close()


def _begin(client: Http2Connection, event: h2.events.RequestReceived) -> None:
    key = event.stream_id
    exchange = Exchange(client.engine, client, key)
    client.streams[key] = Stream(exchange)
    try:
        request = read_request(event.headers)
    except (KeyError, ValueError):
        client.engine.log("Invalid HTTP/2 request headers")
        del client.streams[key]
        client.h2.reset_stream(key, h2.errors.ErrorCodes.PROTOCOL_ERROR)
        return
    client.addon.head_time(client.conn)
    client.heads.watching = True
    asking.begin(
        exchange,
        request,
        host=request.host_header or "",
        ended=event.stream_ended is not None,
        expects="expect" in request.headers,
    )


def _on_data(client: Http2Connection, key: int, data: bytes, size: int) -> None:
    if (stream := client.streams.get(key)) is None:
        if size:  # The request has its answer already.
            client.h2.acknowledge_received_data(size, key)
        return
    if data:
        stream.heard = time.monotonic()
        asking.body(stream.exchange, data)
    if size and key in client.streams:
        client.uploads.received(key, size, stream.exchange)
    elif size:
        client.h2.acknowledge_received_data(size, key)


def _reset(client: Http2Connection, key: int, why: str) -> None:
    given_up = key in client.streams
    client.gone(key, why)
    if given_up and not client.closed and not client.resets.take(time.monotonic()):
        client.engine.log("an HTTP/2 client has given up too many requests")
        code = h2.errors.ErrorCodes.ENHANCE_YOUR_CALM
        client.end_with(code, "too many requests were given up")
