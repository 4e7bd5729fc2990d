"""Places that only speed or comfort depends on: a part of the addon is off without them."""

from __future__ import annotations

from .place import ISSUES, PULLS, Part, Place

_CUTS = f"{ISSUES}/3895 and {PULLS}/8378"
_SERVER = "mitmproxy.proxy.server"
_HTTP = "mitmproxy.proxy.layers.http"

SPEED = (
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
        upstream=f"{ISSUES}/4129",
    ),
    Place(
        "mitmproxy.addons.termlog:TermLogHandler",
        ("file", "emit(record)", "format(record)"),
        Part.LOG,
        "a thread writes the log, and an error of its does not end the process",
        ("hooks.term_log",),
        upstream=f"{ISSUES}/4669",
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
