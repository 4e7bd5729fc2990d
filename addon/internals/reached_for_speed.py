"""Places that only speed or comfort depends on: a part of the addon is off without them."""

from __future__ import annotations

from .place import CUTS, HTTP, ISSUES, SERVER, Part, Place

SPEED = (
    Place(
        "mitmproxy.addonmanager",
        ("safecall()", "traverse(chain)"),
        "hooks are called here as mitmproxy calls them",
        ("internals.inline_hooks", "hooks.lean"),
        Part.LEAN,
    ),
    Place(
        "mitmproxy.addonmanager:AddonManager",
        ("chain", "lookup", "invoke_addon_sync(addon, event)"),
        "unused addons leave the chain, and come back configured",
        ("internals.inline_hooks", "hooks.lean"),
        Part.LEAN,
    ),
    Place(
        "mitmproxy.hooks",
        ("all_hooks", "ConfigureHook"),
        "the one argument of each hook",
        ("internals.inline_hooks", "hooks.lean"),
        Part.LEAN,
    ),
    Place(
        "mitmproxy.tools.dump",
        ("DumpMaster",),
        "addons are left out only in mitmdump",
        ("hooks.lean",),
        Part.LEAN,
    ),
    Place(
        "mitmproxy.master:Master",
        ("_legacy_log_events",),
        "log lines trigger no hooks while no script listens",
        ("hooks.lean",),
        Part.LEAN,
    ),
    Place(
        f"{SERVER}:ConnectionHandler",
        ("async handle_hook(hook)",),
        "hooks of connections are called without mitmproxy's dispatch",
        ("engine.top_layer",),
        Part.LEAN,
    ),
    Place(
        f"{SERVER}:TimeoutWatchdog",
        ("disarm()",),
        "silence is not counted while an addon handles a hook",
        ("engine.top_layer",),
        Part.LEAN,
    ),
    Place(
        f"{SERVER}:ConnectionHandler",
        ("async drain_writers()", "log(message, level, exc_info)"),
        "bytes are written where they arrive, as server_event does it",
        ("engine.top_layer",),
        Part.BYTES,
    ),
    Place(
        f"{SERVER}:TimeoutWatchdog",
        ("register_activity()",),
        "tells mitmproxy that bytes have arrived",
        ("engine.top_layer",),
        Part.BYTES,
    ),
    Place(
        "asyncio:StreamReader",
        ("_paused", "_transport", "_waiter", "feed_data(data)"),
        "bytes are taken where they arrive, and pauses reach the socket",
        ("internals.wide_reads",),
        Part.BYTES,
    ),
    Place(
        "mitmproxy.optmanager",
        ("unset",),
        "whether an option was set",
        ("hooks.lean",),
        Part.OPTIONS,
    ),
    Place(
        "mitmproxy.optmanager:OptManager", ("_options",), "the same", ("hooks.lean",), Part.OPTIONS
    ),
    Place("mitmproxy.optmanager:_Option", ("value",), "the same", ("hooks.lean",), Part.OPTIONS),
    Place(
        f"{HTTP}:HttpLayer",
        ("connections", "streams"),
        "requests in flight of clients that the engine does not serve",
        ("engine.connections",),
        Part.OTHER_MODES,
        upstream=CUTS,
    ),
    Place(f"{HTTP}:HttpStream", ("flow",), "the same", ("engine.connections",), Part.OTHER_MODES),
    Place(
        f"{HTTP}._http1:Http1Server",
        ("buf", "request"),
        "whether such a client has begun a request",
        ("engine.connections",),
        Part.OTHER_MODES,
    ),
    Place(
        "mitmproxy.addons.view:View",
        ("store_count()", "resolve(flow_spec)", "remove(flows)"),
        "the oldest flows are forgotten",
        ("mitmweb.flow_ring",),
        Part.FLOWS,
        upstream=f"{ISSUES}/4129",
    ),
    Place(
        "mitmproxy.tools.web.app",
        ("flow_to_json(flow)",),
        "the list of flows has paths as clients sent them",
        ("mitmweb.path_column",),
        Part.PATHS,
    ),
    Place(
        "mitmproxy.addons.termlog:TermLogHandler",
        ("file", "emit(record)", "format(record)"),
        "a thread writes the log, and its errors do not end the process",
        ("hooks.term_log",),
        Part.LOG,
        upstream=f"{ISSUES}/4669",
    ),
    Place(
        "mitmproxy.log",
        ("MitmFormatter(colorize)",),
        "no colours in the log if the user wants none",
        ("hooks.term_log",),
        Part.LOG,
    ),
    Place(
        "asyncio.selector_events:BaseSelectorEventLoop",
        ("_accept_connection",),
        "one line while no client can be accepted",
        ("hooks.loop_errors",),
        Part.LOOP,
        says="socket.accept() out of system resource",
    ),
)
