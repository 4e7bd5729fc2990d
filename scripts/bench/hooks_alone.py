"""Runs only the addon's hooks, for made-up flows: hooks_alone.py RULES COUNT TARGET.

It prints "ready" and "done", and waits for a line after each: only the work in between is counted.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from mitmproxy import http
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import taddons, tflow

from addon import assembly
from addon.routing import flow_state
from addon.routing.flow_state import FlowState

UPSTREAM = "http://127.0.0.1:5000"
_ASKED = ("User-Agent", "mlflow-python-client/3.17.2"), ("Accept-Encoding", "gzip, deflate")
_ANSWERED = ("Server", "nginx"), ("Content-Type", "application/json"), ("Connection", "keep-alive")


def flow(target: str) -> http.HTTPFlow:
    """Return a flow as in the first hook, but with its answer as well."""
    made = tflow.tflow(resp=True)
    made.client_conn.proxy_mode = ProxyMode.parse(f"reverse:{UPSTREAM}")
    made.request = http.Request.make("GET", UPSTREAM + target)
    made.request.headers = _headers(("Host", "127.0.0.1:5000"), *_ASKED, ("Accept", "*/*"))
    made.response = http.Response.make(200, b"{}")
    made.response.headers = _headers(*_ANSWERED, ("Content-Length", "2"))
    flow_state.put(made, FlowState(authority="registry.example.org"))
    return made


def _headers(*fields: tuple[str, str]) -> http.Headers:
    return http.Headers([(name.encode(), value.encode()) for name, value in fields])


def run(addons: list[Any], flows: list[http.HTTPFlow]) -> None:
    """Run all hooks for each flow."""
    before, after = (
        [getattr(addon, hook) for hook in hooks for addon in addons if hasattr(addon, hook)]
        for hooks in (("requestheaders", "request"), ("responseheaders", "response"))
    )
    for one in flows:
        answer, one.response = one.response, None
        for hook in before:
            hook(one)
        one.response = answer
        for hook in after:
            hook(one)


async def main() -> None:
    """Warm up, then run while instructions are counted."""
    script = SimpleNamespace(name="script", addons=assembly.addons())
    target = sys.argv[3]
    with taddons.context(script) as context:
        context.configure(script, mlflow_rules=sys.argv[1])
        run(script.addons, [flow(target) for _ in range(50)])
        flows = [flow(target) for _ in range(int(sys.argv[2]))]
        for said, work in (("ready", flows), ("done", [])):
            print(said, flush=True)
            sys.stdin.readline()
            run(script.addons, work)
        assert all(one.request.path.startswith("/ajax-api/") for one in flows)


asyncio.run(main())
