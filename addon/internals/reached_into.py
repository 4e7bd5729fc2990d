"""All undocumented places of mitmproxy and asyncio that the addon uses.

mitmproxy's documentation promises hooks, flows, options and commands. `TABLE` lists everything else
in use, and the form it is expected to have. `still_there` compares it with the installed mitmproxy
before anything else is imported (see `start`), and checks nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Part(Enum):
    """What is lost if a place has changed; the value is for the log."""

    SAFETY = "refusals, limits or errors would not work"
    """Without it the proxy does not start; without any other part it serves with that part off."""
    LEAN = "small requests cost more, as without mlflow_lean"
    BYTES = "bytes take mitmproxy's own way, and large transfers are slower"
    OPTIONS = "an option that is set to its default counts as not set"
    OTHER_MODES = "connections in modes other than reverse, and by HTTP/3, count as busy"
    FLOWS = "mitmweb keeps all flows (mlflow_keep_flows)"
    LOG = "mitmproxy writes its log itself, and waits for whoever reads it"
    LOOP = "a process without open files logs each attempt to accept a client"


@dataclass(frozen=True)
class Place:
    """A class, module or function, and its names in use.

    Args:
        owner: "module:name".
        names: attributes of it, or of its instances. `name` is anything, `name(one, two)` takes
            these arguments in this order and needs no others, `async name()` is also a coroutine
            function, and `name=text` is a text. A dataclass has only the fields of `__init__`.
        part: what is lost otherwise.
        purpose: what it is used for.
        used_in: modules of the addon.
        upstream: an issue or pull request that would make it unnecessary, or explains it.
        says: a text in the code of a function.
    """

    owner: str
    names: tuple[str, ...]
    part: Part
    purpose: str
    used_in: tuple[str, ...]
    upstream: str = ""
    says: str = ""


_ISSUES = "https://github.com/mitmproxy/mitmproxy/issues"
_PULLS = "https://github.com/mitmproxy/mitmproxy/pull"
_NO_OWN_ERRORS = f"{_PULLS}/7999"
_CUTS = f"{_ISSUES}/3895 and {_PULLS}/8378"

_MESSAGE = "http_version, headers, content, trailers, timestamp_start, timestamp_end"
_SERVER = "mitmproxy.proxy.server"
_HTTP = "mitmproxy.proxy.layers.http"

_SAFETY = (
    Place(
        "mitmproxy.addons.proxyserver:Proxyserver",
        ("connections", "servers", "listen_addrs()"),
        Part.SAFETY,
        "who is connected, and where clients are served",
        ("engine.connections", "hooks.listeners"),
        upstream=_CUTS,
    ),
    Place(
        f"{_SERVER}:ConnectionHandler",
        (
            *("transports", "timeout_watchdog", "layer", "client"),
            "async server_event(event)",
            *("async open_connection(command)", "async handle_connection(connection)"),
        ),
        Part.SAFETY,
        "time limits, silent clients, stalled bodies and the drain look at a client's connections",
        (
            "hooks.body_times",
            "engine.connections",
            "hooks.drain",
            "engine.top_layer",
            "engine.to_engine",
        ),
        upstream=f"{_CUTS}; {_ISSUES}/7027 says why server_event does not wait",
    ),
    Place(
        f"{_SERVER}:ConnectionIO",
        ("handler", "reader", "writer"),
        Part.SAFETY,
        "closes connections, and tells how long nothing was read or written",
        (
            *(
                "hooks.body_times",
                "engine.connections",
                "hooks.drain",
                "engine.top_layer",
                "hooks.room",
                "hooks.time_limits",
            ),
            "internals.wide_reads",
        ),
        upstream=_CUTS,
    ),
    Place(
        f"{_SERVER}:TimeoutWatchdog",
        ("timeout", "last_activity", "blocker"),
        Part.SAFETY,
        "the limit for silent clients takes the place of mitmproxy's own",
        ("engine.connections", "hooks.drain"),
    ),
    Place(
        f"{_SERVER}:logger",
        (f"name={_SERVER}",),
        Part.SAFETY,
        "what mitmproxy repeats of its peers is kept out of the log",
        ("hooks.lean", "observe.log_guard"),
    ),
    Place(
        "mitmproxy.addons.next_layer:NextLayer",
        ("next_layer(nextlayer)",),
        Part.SAFETY,
        "says where mitmproxy would serve HTTP, so that the engine does",
        ("engine.plug",),
        upstream=_NO_OWN_ERRORS,
    ),
    Place(
        "mitmproxy.proxy.layer:Layer",
        ("context", "handle_event(event)"),
        Part.SAFETY,
        "the engine is one",
        ("engine.layer", "engine.plug", "engine.tap", "engine.top_layer"),
        upstream=_NO_OWN_ERRORS,
    ),
    Place(
        "mitmproxy.proxy.context:Context",
        ("client", "server", "layers", "options", "fork()"),
        Part.SAFETY,
        "the engine takes the place of another layer",
        ("engine.connections", "engine.layer", "engine.plug", "engine.top_layer"),
    ),
    Place(
        "mitmproxy.proxy.tunnel:TunnelLayer",
        ("child_layer",),
        Part.SAFETY,
        "the engine stands below TLS, to clients and to registries",
        ("engine.layer", "engine.plug"),
    ),
    Place(
        "mitmproxy.proxy.layers.tls:ServerTLSLayer",
        ("__init__(context)",),
        Part.SAFETY,
        "TLS to registries",
        ("engine.layer",),
    ),
    Place(
        "mitmproxy.proxy.layers.websocket:WebsocketLayer",
        ("__init__(context, flow)", "flow"),
        Part.SAFETY,
        "serves WebSockets",
        ("engine.layer",),
    ),
    Place(
        "mitmproxy.proxy.layers.websocket",
        ("WebsocketEndHook",),
        Part.SAFETY,
        "the hook of a WebSocket that the engine ends itself",
        ("engine.websocket",),
    ),
    Place(
        "mitmproxy.proxy.commands",
        ("CloseConnection", "OpenConnection", "RequestWakeup", "SendData", "StartHook"),
        Part.SAFETY,
        "what the engine asks of mitmproxy",
        ("engine.layer", "engine.tap", "engine.top_layer"),
    ),
    Place(
        "mitmproxy.proxy.events",
        (
            *("CommandCompleted", "ConnectionClosed", "ConnectionEvent", "DataReceived"),
            *("HookCompleted", "MessageInjected", "OpenConnectionCompleted", "Start"),
        ),
        Part.SAFETY,
        "what mitmproxy tells the engine",
        ("engine.front", "engine.layer", "engine.tap", "engine.top_layer"),
    ),
    Place(
        f"{_HTTP}._hooks",
        (
            *("HttpRequestHeadersHook", "HttpRequestHook", "HttpErrorHook"),
            *("HttpResponseHeadersHook", "HttpResponseHook"),
        ),
        Part.SAFETY,
        "the hooks of a request",
        ("engine.exchange", "engine.layer"),
    ),
    Place(
        "mitmproxy.net.http.http1.read",
        ("_read_request_line(line)",),
        Part.SAFETY,
        "reads targets in absolute form as mitmproxy does",
        ("engine.front_http1",),
    ),
    Place(
        "mitmproxy.net.http.url",
        (
            "parse_authority(authority, check)",
            "default_port(scheme)",
            "hostport(scheme, host, port)",
        ),
        Part.SAFETY,
        "reads and writes authorities as mitmproxy does",
        ("engine.front_http2", "engine.layer"),
    ),
    Place(
        "mitmproxy.net.http.http1",
        ("assemble_response(response)",),
        Part.SAFETY,
        "own answers to what is no request",
        ("engine.responses",),
        upstream=_NO_OWN_ERRORS,
    ),
    Place(
        "mitmproxy.http:RequestData",
        (f"__init__({_MESSAGE}, host, port, method, scheme, authority, path)",),
        Part.SAFETY,
        "requests are built around their fields, without a constructor",
        ("engine.messages",),
    ),
    Place(
        "mitmproxy.http:ResponseData",
        (f"__init__({_MESSAGE}, status_code, reason)",),
        Part.SAFETY,
        "responses are, too",
        ("engine.messages",),
    ),
    Place("mitmproxy.http:Request", ("data",), Part.SAFETY, "the same", ("engine.messages",)),
    Place("mitmproxy.http:Response", ("data",), Part.SAFETY, "the same", ("engine.messages",)),
    Place("mitmproxy.http:Headers", ("fields",), Part.SAFETY, "the same", ("engine.messages",)),
    Place(
        "mitmproxy.flow:Flow",
        (
            *("id", "client_conn", "server_conn", "live", "timestamp_created", "intercepted"),
            *("_resume_event", "_backup", "marked", "is_replay", "metadata", "comment"),
        ),
        Part.SAFETY,
        "flows are, too",
        ("engine.messages",),
    ),
    Place(
        "mitmproxy.addons.proxyauth",
        ("REALM",),
        Part.SAFETY,
        "a refusal for want of credentials is told from others",
        ("hooks.on_request",),
    ),
    Place(
        "mitmproxy.flowfilter:FAnd",
        ("lst",),
        Part.SAFETY,
        "filters in rules that can never match are refused",
        ("rules.filters",),
    ),
    Place("mitmproxy.flowfilter:FOr", ("lst",), Part.SAFETY, "the same", ("rules.filters",)),
    Place("mitmproxy.flowfilter:FNot", ("itm",), Part.SAFETY, "the same", ("rules.filters",)),
    Place(
        "mitmproxy.optmanager:OptManager",
        ("deferred",),
        Part.SAFETY,
        "misspelled options are refused",
        ("hooks.process",),
    ),
    Place(
        "asyncio:StreamReader",
        ("__dict__", "async read(n)"),
        Part.SAFETY,
        "a subclass takes the place of a reader's class, and tells what time limits ask for",
        ("internals.wide_reads",),
    ),
)

_SPEED = (
    Place(
        "mitmproxy.addonmanager",
        ("safecall()", "traverse(chain)"),
        Part.LEAN,
        "hooks are called here as mitmproxy calls them",
        ("internals.inline_hooks", "hooks.lean"),
    ),
    Place(
        "mitmproxy.addonmanager:AddonManager",
        ("chain", "lookup", "invoke_addon_sync(addon, event)"),
        Part.LEAN,
        "unused addons leave the chain, and come back configured",
        ("internals.inline_hooks", "hooks.lean"),
    ),
    Place(
        "mitmproxy.hooks",
        ("all_hooks", "ConfigureHook"),
        Part.LEAN,
        "the one argument of each hook",
        ("internals.inline_hooks", "hooks.lean"),
    ),
    Place(
        "mitmproxy.tools.dump",
        ("DumpMaster",),
        Part.LEAN,
        "addons are left out of mitmdump alone",
        ("hooks.lean",),
    ),
    Place(
        "mitmproxy.master:Master",
        ("_legacy_log_events",),
        Part.LEAN,
        "lines of the log are no hooks while nobody listens",
        ("hooks.lean",),
    ),
    Place(
        f"{_SERVER}:ConnectionHandler",
        ("async handle_hook(hook)",),
        Part.LEAN,
        "hooks of connections are called without mitmproxy's dispatch",
        ("engine.top_layer",),
    ),
    Place(
        f"{_SERVER}:TimeoutWatchdog",
        ("disarm()",),
        Part.LEAN,
        "nobody is silent while an addon is asked",
        ("engine.top_layer",),
    ),
    Place(
        f"{_SERVER}:ConnectionHandler",
        ("async drain_writers()", "log(message, level, exc_info)"),
        Part.BYTES,
        "bytes are written where they arrive, as server_event does it",
        ("engine.top_layer",),
    ),
    Place(
        f"{_SERVER}:TimeoutWatchdog",
        ("register_activity()",),
        Part.BYTES,
        "tells mitmproxy that bytes have come",
        ("engine.top_layer",),
    ),
    Place(
        "asyncio:StreamReader",
        ("_paused", "_transport", "_waiter", "feed_data(data)"),
        Part.BYTES,
        "bytes are taken where they arrive, and pauses reach the socket",
        ("internals.wide_reads",),
    ),
    Place(
        "mitmproxy.optmanager", ("unset",), Part.OPTIONS, "who has set an option", ("hooks.lean",)
    ),
    Place(
        "mitmproxy.optmanager:OptManager", ("_options",), Part.OPTIONS, "the same", ("hooks.lean",)
    ),
    Place("mitmproxy.optmanager:_Option", ("value",), Part.OPTIONS, "the same", ("hooks.lean",)),
    Place(
        f"{_HTTP}:HttpLayer",
        ("connections", "streams"),
        Part.OTHER_MODES,
        "what a client has in flight where the engine does not serve",
        ("engine.connections",),
        upstream=_CUTS,
    ),
    Place(f"{_HTTP}:HttpStream", ("flow",), Part.OTHER_MODES, "the same", ("engine.connections",)),
    Place(
        f"{_HTTP}._http1:Http1Server",
        ("buf", "request"),
        Part.OTHER_MODES,
        "whether such a client has begun a request",
        ("engine.connections",),
    ),
    Place(
        "mitmproxy.addons.view:View",
        ("store_count()", "resolve(flow_spec)", "remove(flows)"),
        Part.FLOWS,
        "the oldest flows are forgotten",
        ("mitmweb.flow_ring",),
        upstream=f"{_ISSUES}/4129",
    ),
    Place(
        "mitmproxy.addons.termlog:TermLogHandler",
        ("file", "emit(record)", "format(record)"),
        Part.LOG,
        "a thread writes the log, and an error of its does not end the process",
        ("hooks.term_log",),
        upstream=f"{_ISSUES}/4669",
    ),
    Place(
        "mitmproxy.log",
        ("MitmFormatter(colorize)",),
        Part.LOG,
        "no colours in the log if the user wants none",
        ("hooks.term_log",),
    ),
    Place(
        "asyncio.selector_events:BaseSelectorEventLoop",
        ("_accept_connection",),
        Part.LOOP,
        "one line while no client can be accepted",
        ("hooks.loop_errors",),
        says="socket.accept() out of system resource",
    ),
)

TABLE = _SAFETY + _SPEED
"""All places."""
