"""Request ids, traces and X-Forwarded-*: what the upstream and the client see."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

import lab
from support.client import request
from support.fixtures import StartProxy
from support.upstream import OK, Upstream, response
from support.waiting import eventually

API = "/api/2.0/mlflow/runs/get"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_names_are_made(scripted: Upstream, scripted_proxy: lab.Server) -> None:
    """Each request gets its own id and trace; upstream and client see the same ones."""
    scripted.answer = OK
    seen = set()
    for _ in range(2):
        got = request(scripted_proxy.url, API)
        sent = scripted.requests[-1]
        shown, trace = got.headers["X-Request-Id"], got.headers["traceparent"]
        assert sent.header("X-Request-Id") == [shown]
        assert sent.header("traceparent") == [trace]
        assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-00", trace)
        assert trace.split("-")[1] == shown.replace("-", "")
        seen.add(shown)
    assert len(seen) == 2


def test_names_are_kept(scripted: Upstream, scripted_proxy: lab.Server) -> None:
    """The client's request id and trace are kept and come back, also with a converted error."""
    headers = {"X-Request-Id": "job-17", "traceparent": TRACE, "tracestate": "congo=t61"}
    page = response("404 Not Found", b"<html>", ("X-Request-Id", "theirs-1"))
    for scripted.answer in (OK, page):
        got = request(scripted_proxy.url, API, headers=headers)
        assert [scripted.requests[-1].header(name) for name in headers] == [
            [value] for value in headers.values()
        ]
        assert (got.headers["X-Request-Id"], got.headers["traceparent"]) == ("job-17", TRACE)
    assert got.headers["X-Upstream-Request-Id"] == "theirs-1"
    assert "(request id theirs-1)" in json.loads(got.body)["message"]


def test_forwarded_is_off(scripted: Upstream, scripted_proxy: lab.Server) -> None:
    """By default, X-Forwarded-* is neither added nor removed."""
    scripted.answer = OK
    request(scripted_proxy.url, API, headers={"X-Forwarded-For": "192.0.2.7"})
    assert scripted.requests[-1].header("X-Forwarded-For") == ["192.0.2.7"]
    request(scripted_proxy.url, API)
    assert b"X-Forwarded" not in scripted.requests[-1].head


def test_forwarded(start_proxy: StartProxy, scripted: Upstream, tmp_path: Path) -> None:
    """X-Forwarded-* describes the client's request; only a trusted proxy's claims are kept."""
    log = tmp_path / "access.log"
    moved = response("302 Found", b"", ("Location", f"{scripted.url}/ajax-api/2.0/mlflow/x"))
    claims = {
        "X-Forwarded-For": "203.0.113.9, 192.0.2.7",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "ml.example.org",
        "X-Forwarded-Prefix": "/team",
    }
    expected: dict[tuple[str, ...], list[str | None]] = {
        (): ["127.0.0.1", "http", None, "/mlflow"],
        ("127.0.0.0/8",): [
            "203.0.113.9, 192.0.2.7, 127.0.0.1", "https", "ml.example.org", "/team/mlflow",
        ],
    }  # fmt: skip

    def is_last(client: str) -> bool:
        lines = log.read_text(encoding="utf-8").splitlines()
        return [json.loads(line)["client"] for line in lines[-1:]] == [client]

    for trusted, told in expected.items():
        forwarded = {"send": True, "trusted": [*trusted]}
        options = ("--set", f"mlflow_access_log={log}")
        proxy = start_proxy(scripted.url, forwarded=forwarded, options=options)
        scripted.answer = moved
        got = request(proxy.url, f"/mlflow{API}", headers=claims)
        authority = proxy.url.removeprefix("http://")
        sent = scripted.requests[-1]
        assert [sent.header(name) for name in claims] == [[value or authority] for value in told]
        public = f"{told[1]}://{told[2] or authority}{told[3]}"
        assert got.headers["Location"] == f"{public}/ajax-api/2.0/mlflow/x"
        client = "192.0.2.7" if trusted else "127.0.0.1"

        eventually(partial(is_last, client))


def test_other_forwarding_fields(start_proxy: StartProxy, scripted: Upstream) -> None:
    """Of other forwarding fields, a few pass from a trusted balancer, and none from a client."""
    scripted.answer = OK
    claims = ["Forwarded", "X_Forwarded_For", "X-Forwarded_Proto", "X_Real_IP"]
    by_balancers = ["X-Real-IP", "X-Forwarded-User", "X-Forwarded-Ssl"]
    lies = dict.fromkeys((*claims, *by_balancers, "X-Forwarded-Port"), "lie")
    for trusted in ([], ["127.0.0.1"]):
        proxy = start_proxy(scripted.url, forwarded={"send": True, "trusted": trusted})
        request(proxy.url, API, headers=lies)
        sent = scripted.requests[-1]
        kept = [name for name in lies if "lie" in sent.header(name)]
        assert kept == (by_balancers if trusted else [])


def test_redirects_stay_here(shared_proxy: StartProxy, scripted: Upstream) -> None:
    """Hostile X-Forwarded-* values, passed on by a balancer, make no redirect to another site."""
    scripted.answer = response("302 Found", b"", ("Location", "/x"))
    proxy = shared_proxy(scripted.url, forwarded={"trusted": ["127.0.0.1"]})
    for prefix in ("//evil.example", "/\\evil.example", "/%2fevil.example", "/..//evil.example"):
        got = request(proxy.url, "/mlflow/y", headers={"X-Forwarded-Prefix": prefix})
        assert got.headers["Location"] == "/mlflow/x"
    scripted.answer = response("302 Found", b"", ("Location", f"{scripted.url}/x"))
    for host in ("evil.example/", "user@evil.example", "evil.example, proxy", "evil.example\\"):
        got = request(proxy.url, "/mlflow/y", headers={"X-Forwarded-Host": host})
        assert got.headers["Location"] == f"{proxy.url}/mlflow/x"


def test_headers_of_balancers(shared_proxy: StartProxy, scripted: Upstream) -> None:
    """Redirects name the public host and port from X-Forwarded-* or Forwarded (RFC 7239)."""
    scripted.answer = response("302 Found", b"", ("Location", f"{scripted.url}/x"))
    proxy = shared_proxy(scripted.url, forwarded={"trusted": ["127.0.0.1"]})
    port = proxy.url.rpartition(":")[2]
    for said, public in {
        (
            "X-Forwarded-Host: ml.example.org",
            "X-Forwarded-Port: 8443",
        ): "http://ml.example.org:8443",
        ("Forwarded: for=192.0.2.7;proto=https;host=ml.example.org",): "https://ml.example.org",
        ("Forwarded: host=ml.example.org", "X-Forwarded-Proto: https"): f"https://127.0.0.1:{port}",
    }.items():
        headers = [tuple(line.split(": ")) for line in said]
        got = request(proxy.url, "/mlflow/y", headers=headers)  # type: ignore[arg-type]
        assert got.headers["Location"] == f"{public}/mlflow/x"


def test_guards_know_the_public_name(start_proxy: StartProxy, scripted: Upstream) -> None:
    """A page of the balancer's public site is allowed if the balancer is trusted."""
    scripted.answer = OK
    page = {"Origin": "https://ml.example.org", "X-Forwarded-Host": "ml.example.org"}
    page["X-Forwarded-Proto"] = "https"
    statuses = []
    for trusted in ([], ["127.0.0.1"]):
        proxy = start_proxy(
            scripted.url, forwarded={"trusted": trusted}, allowed_hosts=["ml.example.org"]
        )
        got = request(proxy.url, API, method="POST", headers=page, body=b"{}")
        statuses.append(got.status)
    assert statuses == [403, 200]
