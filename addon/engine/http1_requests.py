"""Read the requests of a client's HTTP/1 connection, one after the other."""

from __future__ import annotations

import time
from functools import partial

from mitmproxy import http
from mitmproxy.connection import ConnectionState
from mitmproxy.net.http import http1

from . import asking, heads, messages
from .exchange import Exchange
from .http1_connection import DISCONNECTED, Http1Connection
from .readers import BrokenError, Chunked, Length, Reader
from .responses import to_last_bytes

HALF_OPEN_SECONDS = 5
"""Seconds until an answer must begin for a client that has shut down its side."""
BACKLOG = 256 * 1024
"""Bytes of later requests that are read while one is served."""


def read_on(client: Http1Connection) -> None:
    """Read the buffered bytes for one turn."""
    if client.busy:
        return  # The same loop is running further down the stack.
    if not (turns := client.turns).resting:
        client.busy = True
        turns.begin()
        try:
            while _read_some(client):
                if client.buffer and turns.is_over:
                    turns.rest(partial(read_on, client))
                    break
            else:
                if client.shut_down:
                    check_end(client)
        finally:
            client.busy = False
    if client.reader is not None and not client.closed:
        client.addon.await_body(client.conn, client)
    _pace(client)


def check_end(client: Http1Connection) -> None:
    """After the client's last bytes, close the connection unless it may await an answer."""
    if client.closed:
        return
    if client.exchange is None:
        client.close()
        return
    half_open = client.conn.state is ConnectionState.CAN_WRITE
    if client.reader is None and half_open and not client.answered:
        # It may await its answer, or may have gone: only writing to it will show which.
        if not client.waited_for:
            client.waited_for = True
            client.engine.wake_up(HALF_OPEN_SECONDS, partial(_half_open, client))
        return
    client.end_early(DISCONNECTED)


def next_request(client: Http1Connection) -> None:
    """Go on after a request and its answer are complete."""
    client.exchange = None
    client.reader = None
    client.key += 2
    if client.framing.close_after or (client.shut_down and not client.buffer):
        client.close()
    else:
        read_on(client)


def _half_open(client: Http1Connection) -> None:
    if client.exchange is not None and not client.framing.head_sent:
        client.end_early(DISCONNECTED)


def _pace(client: Http1Connection) -> None:
    """Stop reading while the buffered bytes have to wait."""
    if client.turns.resting:
        full = bool(client.buffer)
    else:
        served = client.exchange is not None and client.reader is None
        full = served and len(client.buffer) > BACKLOG
    client.pace(full)


def _read_some(client: Http1Connection) -> bool:
    """Read a head, or a part of a body; return whether there may be more to read."""
    if client.closed:
        return False
    if client.exchange is None:
        return _read_head(client)
    if (reader := client.reader) is None or not client.buffer:
        return False
    return _read_body(client, reader)


def _read_head(client: Http1Connection) -> bool:
    buffer = client.buffer
    if skip := heads.empty_lines(buffer):
        client.buffer = buffer = buffer[skip:]
    if not buffer:
        return False
    addon, deadline = client.addon, client.deadline
    end = heads.end(buffer)
    if (end or len(buffer)) > addon.limits().request_head:
        client.refuse_bytes(431)
        return False
    if end is None:
        client.begun.begin(buffer)
        client.buffer = b""
        if deadline.ends is None:
            deadline.ends = time.monotonic() + addon.head_time(client.conn)
        deadline.check()
        client.hold_head(len(buffer))
        return False
    deadline.ends = None
    raw, client.buffer = buffer[:end], buffer[end:]
    try:
        head = heads.read_request(raw)
        request = _request(head)
        length = heads.framing(head.fields, head.version)
    except ValueError:
        client.refuse_bytes(400)
        return False
    _begin(client, head, request, Chunked() if length is None else Length(length))
    return True


def _begin(
    client: Http1Connection, head: heads.RequestHead, request: http.Request, reader: Reader
) -> None:
    fields = head.fields
    client.framing.begin(head)
    client.answered = False
    ended = reader.done
    client.reader = None if ended else reader
    client.exchange = exchange = Exchange(client.engine, client, client.key)
    host = request.data.authority or fields.get(b"host", b"")
    asking.begin(
        exchange,
        request,
        host=host.decode("utf-8", "surrogateescape"),
        ended=ended,
        expects=b"expect" in fields,
    )
    if ended:
        asking.end(exchange)


def _request(head: heads.RequestHead) -> http.Request:
    """Return mitmproxy's object for a request.

    Raises:
        ValueError: the target is malformed.
    """
    host, port, scheme, authority, path = "", 0, b"", b"", head.target
    if not path.startswith(b"/") and path != b"*":
        # mitmproxy 11 does not know a scheme in capitals (RFC 3986, section 3.1).
        name, mark, rest = path.partition(b"://")
        target = name.lower() + mark + rest if mark else path
        line = b"%s %s %s" % (head.method, target, head.version)
        parsed = http1.read._read_request_line(line)
        host, port, _, scheme, authority, path, _ = parsed
    return messages.request(
        head.pairs,
        method=head.method,
        path=path,
        version=head.version,
        timestamp=time.time(),
        host=host,
        port=port,
        scheme=scheme,
        authority=authority,
    )


def _read_body(client: Http1Connection, reader: Reader) -> bool:
    try:
        data = reader.feed(client.buffer)
    except BrokenError:
        _broken(client)
        return False
    progress = len(reader.rest) < len(client.buffer)
    client.buffer = reader.rest
    exchange = client.exchange
    if data and exchange is not None:
        asking.body(exchange, data)
        if exchange.waits:
            client.backlog.add(exchange, len(data))
    if reader.done:
        client.reader = None
        if client.answered:
            next_request(client)
        elif exchange is not None:
            asking.end(exchange)
        return True
    return progress and bool(client.buffer)


def _broken(client: Http1Connection) -> None:
    """Answer a request with a malformed body, if its answer has not begun."""
    if not client.framing.head_sent:
        reply = client.addon.own_reply(None, 400, "")
        client.write(to_last_bytes(reply, "HEAD" if client.framing.bodiless else "GET"))
    client.end_early("HTTP/1 protocol error: a malformed body")
