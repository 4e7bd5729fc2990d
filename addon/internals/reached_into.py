"""All undocumented places of mitmproxy and asyncio that the addon uses.

mitmproxy's documentation promises hooks, flows, options and commands. `TABLE` lists everything else
in use, and the form it is expected to have. `still_there` compares it with the installed mitmproxy
before anything else is imported (see `start`), and checks nothing else.

Here are the places that the limits and the refusals of all rooms but the engine need;
`reached_by_engine` has those of the engine, `reached_for_speed` those that no refusal depends on.
"""

from __future__ import annotations

from .place import CUTS, ISSUES, SERVER, Place
from .reached_by_engine import ENGINE
from .reached_for_speed import SPEED

_LIMITS = (
    Place(
        "mitmproxy.addons.proxyserver:Proxyserver",
        ("connections", "servers", "listen_addrs()"),
        "connected clients, and the listeners",
        ("engine.connections", "hooks.listeners"),
        upstream=CUTS,
    ),
    Place(
        f"{SERVER}:ConnectionHandler",
        (
            *("transports", "timeout_watchdog", "layer", "client"),
            "async server_event(event)",
            *("async open_connection(command)", "async handle_connection(connection)"),
        ),
        "time limits, silent clients, stalled bodies and the drain look at a client's connections",
        (
            "hooks.body_times",
            "engine.connections",
            "hooks.drain",
            "engine.top_layer",
            "engine.to_engine",
        ),
        upstream=f"{CUTS}; {ISSUES}/7027 says why server_event does not wait",
    ),
    Place(
        f"{SERVER}:ConnectionIO",
        ("handler", "reader", "writer"),
        "closes connections, and measures their silence",
        (
            *(
                "hooks.body_times",
                "engine.connections",
                "hooks.drain",
                "engine.top_layer",
                "hooks.time_limits",
            ),
            "internals.wide_reads",
        ),
        upstream=CUTS,
    ),
    Place(
        f"{SERVER}:TimeoutWatchdog",
        ("timeout", "last_activity", "blocker"),
        "the limit for silent clients takes the place of mitmproxy's own",
        ("engine.connections", "hooks.drain"),
    ),
    Place(
        f"{SERVER}:logger",
        (f"name={SERVER}",),
        "data of peers that mitmproxy repeats is kept out of the log",
        ("hooks.lean", "observe.log_guard"),
    ),
    Place(
        "mitmproxy.addons.proxyauth",
        ("REALM",),
        "refusals for missing credentials are distinguished from others",
        ("hooks.on_request",),
    ),
    Place(
        "mitmproxy.flowfilter:FAnd",
        ("lst",),
        "filters in rules that can never match are refused",
        ("rules.filters",),
    ),
    Place("mitmproxy.flowfilter:FOr", ("lst",), "the same", ("rules.filters",)),
    Place("mitmproxy.flowfilter:FNot", ("itm",), "the same", ("rules.filters",)),
    Place(
        "mitmproxy.optmanager:OptManager",
        ("deferred", "process_deferred()"),
        "misspelled options and wrong values are refused",
        ("hooks.process",),
    ),
    Place(
        "asyncio:StreamReader",
        ("__dict__", "async read(n)"),
        "a subclass replaces a reader's class, and measures what time limits need",
        ("internals.wide_reads",),
    ),
)

TABLE = (*_LIMITS, *ENGINE, *SPEED)
"""All places."""
