"""Metrics of running proxies: what they count, and a real Prometheus with the shipped files."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import lab
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from support.client import connect, raw, read_all, request
from support.fixtures import StartProxy
from support.proxies import running_proxy
from support.upstream import OK, Answer, Received, Upstream, response
from support.waiting import eventually

from addon.observe import metrics

DEPLOY = lab.ROOT / "scripts" / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
DASHBOARD = DEPLOY / "grafana" / "dashboard.json"

API = "/api/2.0/mlflow/runs/get"
MODEL = "/mlflow/api/2.0/mlflow/registered-models/get"
FILE = "/api/2.0/mlflow-artifacts/artifacts/a.bin"
PAGE = b"<html><body><h1>Not Found</h1></body></html>"
HTML = ("Content-Type", "text/html")


def with_metrics(port: int) -> tuple[str, ...]:
    return ("--set", f"mlflow_metrics={port}")


def read(port: int) -> dict[str, float]:
    """Return all samples of a proxy by name and label values, without the prefix."""
    page = request(f"http://127.0.0.1:{port}", "/metrics").body.decode()
    return {
        f"{s.name.removeprefix(metrics.PREFIX)}{[*s.labels.values()] if s.labels else ''}": s.value
        for family in text_string_to_metric_families(page)
        for s in family.samples
    }


@dataclass(frozen=True)
class Scene:
    """A proxy that has handled every kind of request, and one whose upstream is down."""

    proxy: lab.Server
    upstream: Upstream
    port: int
    """The port of its metrics."""
    lost: lab.Server
    lost_port: int


def everything(proxy: lab.Server, upstream: Upstream) -> None:
    """Send requests that touch every metric."""

    def ask(target: str = API, answer: Answer = OK, **how: Any) -> None:
        upstream.answer = answer
        request(proxy.url, target, **how)

    def reset(_: Received, connection: socket.socket) -> None:
        connection.close()

    for target in (API, API, MODEL, "/v1/traces", "/", "/unheard-of", "/health"):
        ask(target)
    ask(method="PURGE")
    ask(method="POST", body=b"x" * 100)
    ask(FILE, method="PUT", body=b"x" * 3_000_000)
    ask(FILE, response("200 OK", b"x" * 2_000_000))
    # Errors of the upstream, in every form that is converted.
    ask(answer=response("404 Not Found", PAGE, HTML))
    ask(answer=response("404 Not Found", b'{"detail": "x"}', ("Content-Type", "application/json")))
    ask(answer=response("503 Down", b"down", ("Content-Type", "text/plain")))
    ask(answer=response("200 OK", b"<title>Sign in</title>", HTML))
    ask(answer=response("302 Found", b"", ("Location", "https://login.example/?client_id=x")))
    ask(answer=reset)
    ask(answer=b"nonsense\r\n\r\n")
    # Requests that are refused.
    ask("/%0a")
    ask(FILE, method="DELETE")
    ask(method="POST", headers={"Origin": "https://elsewhere.example"})
    ask(method="POST", body=b"x" * 2000)
    ask(headers={"X-Long": "x" * 70_000})
    raw(proxy.url, b"nonsense\r\n\r\n")
    # A client that goes away.
    with connect(proxy.url) as connection:
        connection.sendall(f"PUT {API} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n".encode())
    # Health checks; the second asks the upstream.
    ask("/livez")
    ask("/readyz")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Run both proxies, after all requests and a failed reload of the rules."""
    folder = tmp_path_factory.mktemp("metrics")
    port, lost_port, unused = lab.free_port(), lab.free_port(), lab.free_port()
    with (
        Upstream() as upstream,
        running_proxy(
            folder / "proxy",
            upstream.url,
            options=with_metrics(port),
            artifacts={"delete": False},
            limits={"api_body": 1000},
        ) as proxy,
        running_proxy(
            folder / "lost", f"http://127.0.0.1:{unused}", options=with_metrics(lost_port)
        ) as lost,
    ):
        everything(proxy, upstream)
        # A mistake in the rules, and its fix.
        rules = folder / "proxy" / "rules.yaml"
        good = rules.read_text(encoding="utf-8")
        rules.write_text("nonsense: 1", encoding="utf-8")
        eventually(lambda: read(port)["rules_current"] == 0)
        rules.write_text(good, encoding="utf-8")
        eventually(lambda: read(port)["rules_current"] == 1)
        yield Scene(proxy, upstream, port, lost, lost_port)


COUNTED = {
    "requests_total['tracking', 'GET', 'none', '2xx']": 2,
    "requests_total['tracking', 'other', 'none', '2xx']": 1,
    "requests_total['tracking', 'GET', 'upstream', '4xx']": 4,
    "requests_total['tracking', 'GET', 'upstream', '5xx']": 1,
    "requests_total['tracking', 'GET', 'proxy', '5xx']": 2,
    "requests_total['tracking', 'POST', 'proxy', '4xx']": 2,
    "requests_total['tracking', 'PUT', 'client', 'none']": 1,
    "requests_total['registry', 'GET', 'none', '2xx']": 1,
    "requests_total['artifacts', 'PUT', 'none', '2xx']": 1,
    "requests_total['artifacts', 'DELETE', 'proxy', '5xx']": 1,
    "requests_total['otlp', 'GET', 'none', '2xx']": 1,
    "requests_total['ui', 'GET', 'none', '2xx']": 1,
    "requests_total['other', 'GET', 'none', '2xx']": 1,
    "requests_total['other', 'none', 'proxy', '4xx']": 2,
    "responses_total['404']": 2,
    "responses_total['401']": 2,
    "responses_total['431']": 1,
    "request_duration_seconds_count['artifacts']": 3,
    "first_byte_seconds_count['artifacts']": 3,
    "request_body_bytes_total['tracking']": 100,
    "request_body_bytes_total['artifacts']": 3_000_000,
    "refused_total['ambiguous_target']": 1,
    "refused_total['artifacts_disabled']": 1,
    "refused_total['body_too_large']": 1,
    "refused_total['foreign_origin']": 1,
    "refused_total['head_too_large']": 1,
    "refused_total['malformed']": 1,
    "refused_total['internal_error']": 0,
    "converted_total['html']": 1,
    "converted_total['json']": 1,
    "converted_total['other']": 1,
    "converted_total['login_page']": 1,
    "converted_total['login_redirect']": 1,
    "upstream_failures_total['connection_terminated']": 1,
    "upstream_failures_total['http_protocol_error']": 1,
    "upstream_failures_total['connection_refused']": 0,
    "rules_reloads_total['failure']": 1,
    "rules_reloads_total['success']": 1,
    "requests_in_flight": 0,
    "requests_in_flight_limit": 1000,
    "upstream_ready": 1,
    "draining": 0,
}


@pytest.fixture(scope="module")
def samples(scene: Scene) -> dict[str, float]:
    """The samples of the first proxy."""
    gone = "requests_total['tracking', 'PUT', 'client', 'none']"
    eventually(lambda: gone in read(scene.port))
    return read(scene.port)


@pytest.mark.parametrize("name", COUNTED)
def test_requests_are_counted(samples: dict[str, float], name: str) -> None:
    """Each request is counted once and under the right labels."""
    assert samples[name] == COUNTED[name]


def test_health_checks_are_counted_apart(samples: dict[str, float]) -> None:
    """Load balancers' health checks, and the proxy's own upstream checks, are counted apart."""
    # /livez at start and once more, /readyz, its upstream check, and /health itself.
    assert samples["requests_total['health', 'GET', 'none', '2xx']"] >= 5
    assert samples["first_byte_seconds_count['other']"] == 4


def test_open_connections_and_requests(scene: Scene) -> None:
    """The gauges show open connections and requests in flight, and go back to zero."""
    release = socket.socketpair()

    def wait(_: Received, connection: socket.socket) -> None:
        release[1].recv(1)
        connection.sendall(OK)

    scene.upstream.answer = wait
    with connect(scene.proxy.url) as client:
        client.sendall(f"GET {API} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        eventually(lambda: read(scene.port)["requests_in_flight"] == 1)
        now = read(scene.port)
        assert (now["client_connections"], now["upstream_connections"]) == (1, 1)
        release[0].send(b"x")
        assert read_all(client).endswith(b"{}")
    eventually(lambda: read(scene.port)["client_connections"] == 0)
    assert read(scene.port)["requests_in_flight"] == 0
    for end in release:
        end.close()


def test_series_are_bounded(scene: Scene) -> None:
    """A thousand paths with unknown methods and statuses make few series, which show no path."""
    before = len(read(scene.port))
    statuses = iter([*range(200, 204), *range(205, 304), *range(305, 1000), *range(500, 999)])

    def answer(received: Received, connection: socket.socket) -> bool:
        connection.sendall(response(f"{next(statuses)} Odd", b"{}"))
        return True

    scene.upstream.answer = answer
    parts = urlsplit(scene.proxy.url)
    connection = HTTPConnection(parts.netloc, timeout=20)
    for number in range(1000):
        begin = (API, FILE, "/secret", "/api/2.0/mlflow/x", MODEL)[number % 5]
        connection.request(f"M{number}" if number % 2 else "GET", f"{begin}/secret-{number}?secret")
        connection.getresponse().read()
    connection.close()
    assert before < len(read(scene.port)) < 600
    page = request(f"http://127.0.0.1:{scene.port}", "/metrics").body
    assert b"secret" not in page
    assert b"M1" not in page


def test_draining(start_proxy: StartProxy, scene: Scene) -> None:
    """The metric `draining` is 1 while the proxy drains."""
    port = lab.free_port()
    proxy = start_proxy(scene.upstream.url, options=with_metrics(port), drain={"grace": 60})
    assert read(port)["draining"] == 0
    request(proxy.url, "/readyz/local")  # As a load balancer does.
    proxy.process.send_signal(signal.SIGTERM)
    eventually(lambda: read(port)["draining"] == 1)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("{taken}", "Address already in use"),
        ("nowhere", "expected PORT or HOST:PORT"),
    ],
)
def test_an_unusable_port(tmp_path: Path, value: str, problem: str) -> None:
    """A metrics port that is taken or malformed ends the proxy at start with one message."""
    rules = lab.write_rules(tmp_path / "rules.yaml", external=[])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        value = value.format(taken=taken.getsockname()[1])
        options = ["--set", f"mlflow_metrics={value}"]
        with lab.proxy("http://127.0.0.1:9", rules, log=tmp_path / "log", options=options) as proxy:
            assert proxy.process.wait(20) == 1
            text = proxy.text()
    assert f"mlflow_metrics: {value}: {problem}" in text
    assert "Traceback" not in text


def promtool(*arguments: str | Path) -> None:
    command: list[str | Path] = [lab.binary("promtool"), *arguments]
    done = subprocess.run(command, cwd=ALERTS.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_shipped_files_are_valid() -> None:
    """promtool accepts the shipped files; each alert fires when it should, and only then."""
    promtool("check", "rules", "alerts.yml")
    promtool("check", "config", "prometheus.yml")
    promtool("test", "rules", "alerts_test.yml")


@pytest.fixture(scope="module")
def prometheus(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Iterator[lab.Server]:
    """A Prometheus that scrapes both proxies each second; its alerts fire without delay."""
    folder = tmp_path_factory.mktemp("prometheus")
    alerts = re.sub(r"for: \d+m", "for: 0s", ALERTS.read_text(encoding="utf-8"))
    (folder / "alerts.yml").write_text(alerts)
    config = yaml.safe_load((ALERTS.parent / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    targets = [f"127.0.0.1:{scene.port}", f"127.0.0.1:{scene.lost_port}"]
    config["scrape_configs"][0]["static_configs"] = [{"targets": targets}]
    with lab.prometheus(folder, yaml.safe_dump(config)) as server:
        server.wait()
        eventually(lambda: request(server.url, "/-/ready").status == 200, 30)
        yield server


def query(prometheus: lab.Server, expression: str) -> list[dict[str, Any]]:
    """Return the result of a query."""
    got = request(prometheus.url, f"/api/v1/query?query={quote(expression)}")
    assert got.status == 200, (expression, got.body)
    found: list[dict[str, Any]] = json.loads(got.body)["data"]["result"]
    return found


def panels() -> dict[str, dict[str, str]]:
    """Return expressions and legends of the dashboard, by panel title and letter."""
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    variables = {"$job": ".*", "$instance": ".*", "$__rate_interval": "1m"}
    found = {}
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            expression = target["expr"]
            for name, value in variables.items():
                expression = expression.replace(name, value)
            called = target["legendFormat"]
            found[f"{panel['title']} {target['refId']}"] = {"expr": expression, "called": called}
    return found


def alerts() -> dict[str, str]:
    """Return the alerts' expressions by name."""
    (group,) = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule["expr"] for rule in group["rules"]}


SELECTOR = re.compile(r"\b(?:mlflow_proxy_\w+|process_\w+|up)\b(?:\{[^}]*\})?")


@pytest.mark.parametrize("name", panels())
def test_panels(prometheus: lab.Server, name: str) -> None:
    """Each panel shows data, and its legend uses only labels that exist.

    The mount is missing if it is empty; Grafana shows nothing in its place.
    """
    panel = panels()[name]
    assert "$" not in panel["expr"]
    eventually(lambda: query(prometheus, panel["expr"]) != [], 30)
    for series in query(prometheus, panel["expr"]):
        assert {*re.findall(r"\{\{(\w+)\}\}", panel["called"])} <= {*series["metric"], "mount"}


@pytest.mark.parametrize("name", alerts())
def test_alerts(prometheus: lab.Server, name: str) -> None:
    """Each alert's expression is valid, and all of its metrics exist."""
    query(prometheus, alerts()[name])
    selectors = SELECTOR.findall(alerts()[name])
    assert selectors
    for selector in selectors:
        eventually(lambda selector=selector: query(prometheus, selector) != [], 30)  # type: ignore[misc]


def test_names(prometheus: lab.Server) -> None:
    """The dashboard and the alerts use exactly the metrics that are exported."""
    eventually(lambda: query(prometheus, "mlflow_proxy_build_info") != [], 30)
    got = request(prometheus.url, "/api/v1/label/__name__/values").body
    exported = {name for name in json.loads(got)["data"] if name.startswith("mlflow_proxy_")}
    expressions = " ".join([*alerts().values(), *(panel["expr"] for panel in panels().values())])
    named = {*re.findall(r"\bmlflow_proxy_\w+", expressions)}
    assert named <= exported
    parts = re.compile(r"_(bucket|count|sum)$")
    assert {parts.sub("", name) for name in exported} == {parts.sub("", name) for name in named}


def test_dashboard() -> None:
    """The dashboard asks for its data source, and no two panels share a place or an id."""
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    assert "id" not in dashboard
    names = [variable["name"] for variable in dashboard["templating"]["list"]]
    assert names == ["datasource", "job", "instance"]
    shown = dashboard["panels"]
    assert len({panel["id"] for panel in shown}) == len(shown)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in shown)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) == 23
    for panel in shown:
        if panel["type"] != "row":
            sources = [panel["datasource"], *(t["datasource"] for t in panel["targets"])]
            assert {source["uid"] for source in sources} == {"${datasource}"}


def test_an_alert_fires(scene: Scene, prometheus: lab.Server) -> None:
    """The alerts fire for the proxy whose registry is down, and for no other."""

    def fires() -> bool:
        assert request(scene.lost.url, API).status == 502
        assert request(scene.lost.url, "/readyz").status == 503
        got = json.loads(request(prometheus.url, "/api/v1/alerts").body)["data"]["alerts"]
        return {"MlflowRegistryUnreachable", "MlflowProxyNotReady"} <= {
            alert["labels"]["alertname"]
            for alert in got
            if alert["state"] == "firing"
            and alert["labels"]["instance"] == f"127.0.0.1:{scene.lost_port}"
        }

    eventually(fires, 30)
    assert read(scene.lost_port)["upstream_failures_total['connection_refused']"] >= 1
    firing = query(prometheus, 'ALERTS{alertname="MlflowRegistryUnreachable"}')
    assert {a["metric"]["instance"] for a in firing} == {f"127.0.0.1:{scene.lost_port}"}
