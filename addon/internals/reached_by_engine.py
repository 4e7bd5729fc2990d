"""Places that the engine is built on: without one of them, the proxy does not start."""

from __future__ import annotations

from .place import HTTP, PULLS, Place

_NO_OWN_ERRORS = f"{PULLS}/7999"
_MESSAGE = "http_version, headers, content, trailers, timestamp_start, timestamp_end"

ENGINE = (
    Place(
        "mitmproxy.addons.next_layer:NextLayer",
        ("next_layer(nextlayer)",),
        "says where mitmproxy would serve HTTP, so that the engine does it",
        ("engine.plug",),
        upstream=_NO_OWN_ERRORS,
    ),
    Place(
        "mitmproxy.proxy.layer:Layer",
        ("context", "handle_event(event)"),
        "the engine is a layer",
        ("engine.layer", "engine.plug", "engine.tap", "engine.top_layer"),
        upstream=_NO_OWN_ERRORS,
    ),
    Place(
        "mitmproxy.proxy.context:Context",
        ("client", "server", "layers", "options", "fork()"),
        "the engine takes the place of another layer",
        (
            "engine.connections",
            "engine.layer",
            "engine.plug",
            "engine.registries",
            "engine.top_layer",
        ),
    ),
    Place(
        "mitmproxy.proxy.tunnel:TunnelLayer",
        ("child_layer",),
        "the engine stands below TLS, to clients and to registries",
        ("engine.layer", "engine.plug", "engine.registries"),
    ),
    Place(
        "mitmproxy.proxy.layers.tls:ServerTLSLayer",
        ("__init__(context)",),
        "TLS to registries",
        ("engine.registries",),
    ),
    Place(
        "mitmproxy.proxy.layers.websocket:WebsocketLayer",
        ("__init__(context, flow)", "flow", "client_ws", "server_ws"),
        "serves WebSockets",
        ("engine.websocket",),
    ),
    Place(
        "mitmproxy.proxy.layers.websocket:WebsocketConnection",
        ("frame_buf",),
        "tells how much of a message is in memory",
        ("engine.websocket_parts",),
    ),
    Place(
        "mitmproxy.proxy.layers.websocket",
        ("WebsocketEndHook",),
        "the hook of a WebSocket that the engine ends itself",
        ("engine.websocket",),
    ),
    Place(
        "mitmproxy.proxy.commands",
        ("CloseConnection", "OpenConnection", "RequestWakeup", "SendData", "StartHook"),
        "the commands that the engine gives",
        ("engine.layer", "engine.registries", "engine.tap", "engine.top_layer", "engine.websocket"),
    ),
    Place(
        "mitmproxy.proxy.events",
        (
            *("CommandCompleted", "ConnectionClosed", "ConnectionEvent", "DataReceived"),
            *("HookCompleted", "MessageInjected", "OpenConnectionCompleted", "Start"),
        ),
        "the events that the engine gets",
        (
            "engine.front",
            "engine.layer",
            "engine.registries",
            "engine.tap",
            "engine.top_layer",
            "engine.websocket",
        ),
    ),
    Place(
        f"{HTTP}._hooks",
        (
            *("HttpRequestHeadersHook", "HttpRequestHook", "HttpErrorHook"),
            *("HttpResponseHeadersHook", "HttpResponseHook"),
        ),
        "the hooks of a request",
        (
            "engine.answering",
            "engine.asking",
            "engine.endings",
            "engine.failures",
            "engine.sending",
        ),
    ),
    Place(
        "mitmproxy.net.http.http1.read",
        ("_read_request_line(line)",),
        "reads targets in absolute form as mitmproxy does",
        ("engine.http1_requests",),
    ),
    Place(
        "mitmproxy.net.http.url",
        (
            "parse_authority(authority, check)",
            "default_port(scheme)",
            "hostport(scheme, host, port)",
        ),
        "reads and writes authorities as mitmproxy does",
        ("engine.http2_fields", "engine.layer"),
    ),
    Place(
        "mitmproxy.net.http.http1",
        ("assemble_response(response)",),
        "own answers to bytes that are not a request",
        ("engine.responses",),
        upstream=_NO_OWN_ERRORS,
    ),
    Place(
        "mitmproxy.http:RequestData",
        (f"__init__({_MESSAGE}, host, port, method, scheme, authority, path)",),
        "requests are built around their fields, without a constructor",
        ("engine.messages",),
    ),
    Place(
        "mitmproxy.http:ResponseData",
        (f"__init__({_MESSAGE}, status_code, reason)",),
        "responses are built the same way",
        ("engine.messages",),
    ),
    Place("mitmproxy.http:Request", ("data",), "the same", ("engine.messages",)),
    Place("mitmproxy.http:Response", ("data",), "the same", ("engine.messages",)),
    Place("mitmproxy.http:Headers", ("fields",), "the same", ("engine.messages",)),
    Place(
        "mitmproxy.flow:Flow",
        (
            *("id", "client_conn", "server_conn", "live", "timestamp_created", "intercepted"),
            *("_resume_event", "_backup", "marked", "is_replay", "metadata", "comment"),
        ),
        "flows are built the same way",
        ("engine.messages",),
    ),
)
