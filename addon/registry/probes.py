"""Probes: does the registry work for a client, through the proxy?

The same code serves scripts/probe.sh and the proxy's HTTP endpoints. Requests run in parallel in
threads, so that nothing here can block the proxy's event loop.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from ..errors.upstream import ADDED_REFUSED
from ..protocol import to_https
from ..protocol.bodies import is_json
from ..rules.model import Probe
from .answers import Answer, error_code, is_html, is_json_answer, switched_off
from .client import Client
from .diagnosis import UNKNOWN, UNKNOWN_OF_MOUNT

State = Literal["ok", "disabled", "warning", "critical"]

UNREACHABLE = (502, 503, 504)
WRITE_CONTENT = b"mlflow-proxy-probe\n"


@dataclass(frozen=True, slots=True)
class Result:
    """The verdict on one probe; its fields are in the order in which a person reads them."""

    name: str
    url: str
    status_code: int | None
    success: bool
    response_time: float
    """Seconds until the answer was read."""
    message: str
    state: State


def run(client: Client, probes: Sequence[Probe], *, write: bool = False) -> list[Result]:
    """Run probes in parallel and return their results in the order of the probes."""

    def one(probe: Probe) -> Result:
        body = None if probe.body is None else json.dumps(probe.body).encode()
        start = time.monotonic()
        answer = client.send(
            probe.method, probe.path, body, "application/json" if body is not None else ""
        )
        return verdict(probe, client.url, answer, time.monotonic() - start, client.authorization)

    with ThreadPoolExecutor(len(probes) + 1, thread_name_prefix="probe") as pool:
        pending = [pool.submit(one, probe) for probe in probes]
        if write:
            pending.append(pool.submit(write_probe, client))
        return [future.result() for future in pending]


def verdict(
    probe: Probe, base: str, answer: Answer, seconds: float, authorization: str | None = None
) -> Result:
    """Return the verdict on an answer.

    Args:
        probe: the request and the expected answer.
        base: the URL in front of the probe's path.
        answer: the answer.
        seconds: how long it took.
        authorization: the Authorization header that was sent, if any.
    """
    state, message = _judge(probe, answer, authorization is not None)
    if state == "critical" and probe.optional:
        state = "warning"
    return _result(probe.name, base.rstrip("/") + probe.path, answer, seconds, message, state)


def _result(
    name: str, url: str, answer: Answer, seconds: float, message: str, state: State
) -> Result:
    success = state in ("ok", "disabled")
    return Result(name, url, answer.status, success, round(seconds, 4), message, state)


def overall(results: Sequence[Result]) -> State:
    """Return the worst of several verdicts: critical, warning or ok."""
    states = {result.state for result in results}
    worst: tuple[State, ...] = ("critical", "warning")
    return next((state for state in worst if state in states), "ok")


def write_probe(client: Client) -> Result:
    """Upload a small artifact, read it back and delete it."""
    path = f"/api/2.0/mlflow-artifacts/artifacts/mlflow-proxy-probe/{uuid.uuid4().hex}.txt"
    start = time.monotonic()
    problem = ""
    state: State = "critical"
    answer = client.send("PUT", path, WRITE_CONTENT, "text/plain")
    if answer.status == 200:
        back = client.send("GET", path)
        if (back.status, back.body) != (200, WRITE_CONTENT):
            problem = f"read back: {_what(back)}"
        # Even if reading failed: leave nothing behind.
        gone = client.send("DELETE", path)
        if gone.status != 200 and not problem:
            problem = f"delete: {_what(gone)}"
        answer = back if back.status != 200 else gone
    elif off := switched_off(answer):
        state, problem = "disabled", off
    else:
        problem = f"put: {_what(answer)}"
    if not problem:
        state, problem = "ok", "put, read back and deleted"
    url, seconds = client.url.rstrip("/") + path, time.monotonic() - start
    return _result("artifacts_write", url, answer, seconds, problem, state)


def _judge(probe: Probe, answer: Answer, authenticated: bool) -> tuple[State, str]:
    if answer.status is None:
        return "critical", answer.error
    if off := switched_off(answer):
        return "disabled", off
    code = error_code(answer)
    if code == to_https.CODE:
        return "critical", str(json.loads(answer.body)["message"])
    if answer.status in UNREACHABLE:
        return "critical", _what(answer)
    if probe.expect == "any":
        return "ok", "reachable"
    if answer.status in (401, 403) and (probe.expect == "text" or is_json(answer.content_type)):
        if authenticated and code in probe.error_codes:
            return "ok", f"ok ({code})"  # MLflow's basic-auth says so of what does not exist.
        if ADDED_REFUSED.encode() in answer.body:
            return "critical", f"{answer.status}: the credentials that the proxy adds were refused"
        if authenticated:
            return "critical", f"{answer.status}: the credentials were refused"
        return "warning", f"{answer.status}: there, but it asks for credentials"
    if is_html(answer) and (probe.expect == "json" or answer.status not in probe.statuses):
        return "critical", f"{answer.status} with an HTML page"
    if probe.expect == "json" and not is_json_answer(answer) and probe.method != "HEAD":
        return "critical", f"{answer.status}, but not JSON"
    if answer.status in probe.statuses:
        return "ok", "ok"
    if code in probe.error_codes:
        return "ok", f"ok ({code})"
    if any(hint.encode() in answer.body for hint in (UNKNOWN, UNKNOWN_OF_MOUNT)):
        what = "the proxy does not know yet which API the registry serves"
        return "critical", f"{answer.status}: {what}"
    return "critical", _what(answer)


def _what(answer: Answer) -> str:
    """Return a short description of a bad answer."""
    if answer.status is None:
        return answer.error
    if is_html(answer):
        return f"{answer.status} with an HTML page"
    code = error_code(answer)
    return f"{answer.status} {code}" if code else str(answer.status)
