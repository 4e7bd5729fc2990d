"""Probes: does the registry work for a client, through the proxy?

The same code serves scripts/probe.sh and the proxy's HTTP endpoints. Requests run in parallel in
threads, so that nothing here can block the proxy's event loop.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import ssl
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, Literal
from urllib.parse import SplitResult, urlsplit, urlunsplit

from ..errors.upstream import ADDED_REFUSED
from ..protocol import to_https
from ..protocol.bodies import is_json
from ..routing.gate import DISABLED
from ..rules.model import Probe

State = Literal["ok", "disabled", "warning", "critical"]

BODY_READ = 256 * 1024
"""Bytes of an answer that a probe reads, at most."""

USER_AGENT = "mlflow-proxy-probe"
_CODE = re.compile(r"[\w.-]{1,63}", re.ASCII)
_NO_HEADER = re.compile(r"[^\x20-\x7e\xa0-\xff]")
# MLflow's messages on routes that are off (mlflow/server/handlers.py, artifact_router.py).
_SWITCHED_OFF = re.compile(
    rb"server running (?:with|in) `(--no-serve-artifacts|--artifacts-only)`"
    rb"|Artifact serving is disabled\. Run `mlflow server` with `--serve-artifacts`"
)
UNREACHABLE = (502, 503, 504)
WRITE_CONTENT = b"mlflow-proxy-probe\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a probe; `error` in place of a status if there was none."""

    status: int | None
    content_type: str = ""
    body: bytes = b""
    location: str = ""
    """The target of a redirect."""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """The verdict on one probe."""

    name: str
    url: str
    status_code: int | None
    success: bool
    response_time: float
    """Seconds until the answer was read."""
    message: str
    state: State

    def as_json(self) -> dict[str, Any]:
        """Return plain values, in the order in which a person reads them."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Client:
    """How to reach a registry: URL, credentials and time limit."""

    url: str
    """Base URL (a tracking URI), without credentials."""
    timeout: float
    """Seconds for one request."""
    authorization: str | None = None
    """Value of the Authorization header. Never shown."""
    tls: ssl.SSLContext | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent with each request."""

    def send(
        self, method: str, path: str, body: bytes | None = None, content_type: str = ""
    ) -> Answer:
        """Send one request, without following redirects and without retries."""
        parts = urlsplit(self.url)
        headers = {"User-Agent": USER_AGENT, "Connection": "close", **self.headers}
        if self.authorization:
            headers["Authorization"] = self.authorization
        if content_type:
            headers["Content-Type"] = content_type
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            connection = http.client.HTTPSConnection(
                parts.hostname or "", parts.port, timeout=self.timeout, context=self.tls
            )
        else:
            connection = http.client.HTTPConnection(
                parts.hostname or "", parts.port, timeout=self.timeout
            )
        try:
            connection.request(method, parts.path.rstrip("/") + path, body, headers)
            response = connection.getresponse()
            content = response.read(BODY_READ)
            content_type = response.headers.get("Content-Type", "")
            location = response.headers.get("Location", "")
            return Answer(response.status, content_type, content, location)
        except TimeoutError:
            return Answer(None, error=f"no answer within {self.timeout:g} s")
        except (OSError, UnicodeError, http.client.HTTPException) as error:
            return Answer(None, error=_reason(error))
        finally:
            connection.close()


def client_from_environment(
    url: str, timeout: float, environment: Mapping[str, str] = os.environ
) -> Client:
    """Return a client with the credentials and TLS settings that MLflow's own client would use.

    Args:
        url: base URL; user and password in it are used and then removed.
        timeout: seconds for one request.
        environment: see https://mlflow.org/docs/latest/auth/ for the MLFLOW_TRACKING_* names.

    Raises:
        ValueError: the URL is not http or https, or the credentials do not fit into a header. The
            message repeats nothing of either.
        OSError: a certificate file cannot be read.
    """
    parts = _split(url)
    user = parts.username or environment.get("MLFLOW_TRACKING_USERNAME")
    password = parts.password or environment.get("MLFLOW_TRACKING_PASSWORD")
    token = environment.get("MLFLOW_TRACKING_TOKEN")
    authorization = None
    if user and password:
        pair = base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
        authorization = f"Basic {pair}"
    elif token:
        authorization = f"Bearer {token}"
        if _NO_HEADER.search(token):
            raise ValueError(
                "MLFLOW_TRACKING_TOKEN: a line break, or another character that fits no header"
            )
    tls = None
    if parts.scheme == "https":
        tls = ssl.create_default_context(
            cafile=environment.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or None
        )
        if environment.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1"):
            tls.check_hostname = False
            tls.verify_mode = ssl.CERT_NONE
    return Client(_without_credentials(parts), timeout, authorization, tls)


def https_required(secure: str) -> Answer:
    """Return the proxy's answer in place of a redirect to https (see `to_https`).

    Args:
        secure: the URL that is required.
    """
    return Answer(to_https.STATUS, "application/json", to_https.error(secure))


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
    return Result(
        name=probe.name,
        url=base.rstrip("/") + probe.path,
        status_code=answer.status,
        success=state in ("ok", "disabled"),
        response_time=round(seconds, 4),
        message=message,
        state=state,
    )


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
        state = "ok"
    return Result(
        name="artifacts_write",
        url=client.url.rstrip("/") + path,
        status_code=answer.status,
        success=state in ("ok", "disabled"),
        response_time=round(time.monotonic() - start, 4),
        message=problem or "put, read back and deleted",
        state=state,
    )


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
        return "critical", f"{answer.status}, but no JSON"
    if answer.status in probe.statuses:
        return "ok", "ok"
    if code in probe.error_codes:
        return "ok", f"ok ({code})"
    return "critical", _what(answer)


def _what(answer: Answer) -> str:
    """Return a short description of a bad answer."""
    if answer.status is None:
        return answer.error
    if is_html(answer):
        return f"{answer.status} with an HTML page"
    code = error_code(answer)
    return f"{answer.status} {code}" if code else str(answer.status)


def is_html(answer: Answer) -> bool:
    """Return whether an answer is a page."""
    # /version answers with plain text as text/html: only markup is a page.
    return answer.body.lstrip()[:1] == b"<"


def is_json_answer(answer: Answer) -> bool:
    """Return whether an answer is JSON by its Content-Type and by its body."""
    return is_json(answer.content_type) and answer.body.lstrip()[:1] in (b"{", b"[")


def switched_off(answer: Answer) -> str:
    """Return that a route is off on purpose, here or in the registry; "" if it is not."""
    if answer.status is None or answer.status < 400:
        return ""
    if found := _SWITCHED_OFF.search(answer.body):
        option = found[1].decode() if found[1] else "--no-serve-artifacts"
        return f"disabled: the registry runs with {option}"
    return "disabled" if error_code(answer) == DISABLED else ""


def error_code(answer: Answer) -> str:
    """Return the error_code of an answer in MLflow's form, "" if it has none."""
    if not is_json(answer.content_type):
        return ""
    try:
        code = json.loads(answer.body)["error_code"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""
    return code if isinstance(code, str) and _CODE.fullmatch(code) else ""


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"no connection: {error.strerror or error or type(error).__name__}"
    # The text of such an error contains bytes from the server.
    return f"no answer: {type(error).__name__}"


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 (raises ValueError for an invalid port)
    except ValueError:
        # The text of that error repeats part of the URL: the password, if it contains a slash.
        raise ValueError("not a valid URL; is a / or an @ in the password not encoded?") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("expected a URL that starts with http:// or https://")
    return parts


def _without_credentials(parts: SplitResult) -> str:
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))
