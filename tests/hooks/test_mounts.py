"""Mounts with an upstream of their own, through the hooks."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
import yaml
from mitmproxy import http
from mitmproxy.proxy.mode_specs import ProxyMode
from support.assembled import Assembled, make_flow, respond
from support.fixtures import UseRules

from addon.hooks.clients import Clients
from addon.hooks.dialects import Dialects, upstream_of
from addon.hooks.on_end import ended
from addon.registry import health_service
from addon.registry.dialect import Finding
from addon.routing import flow_state
from addon.rules.rules_file import DEFAULT_PATH

TEAM_A: dict[str, Any] = {"path": "/team-a", "upstream": "https://a.example:8443/ml"}
FILE = "/api/2.0/mlflow-artifacts/artifacts/x"
RUN = "/api/2.0/mlflow/runs/get"


def rules(*mounts: Any, **sections: Any) -> str:
    """Return the shipped rules with these mounts and changed sections."""
    found = yaml.safe_load(DEFAULT_PATH.read_text())
    found["mounts"] = ["/", "/mlflow", *mounts]
    for section, values in sections.items():
        found[section].update(values)
    return yaml.safe_dump(found)


def send(addon: Assembled, path: str, **how: Any) -> http.HTTPFlow:
    """Return a flow after the hooks for its request."""
    flow = make_flow(path, **how)
    flow.request.host_header = "upstream"
    addon.run("requestheaders", flow)
    return flow


def went_to(flow: http.HTTPFlow) -> tuple[str, str, int, str | None, str]:
    request = flow.request
    return request.scheme, request.host, request.port, request.host_header, request.path


DEFAULT = ("http", "upstream", 80, "upstream")
HERE = ("https", "a.example", 8443, "a.example:8443")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/team-a" + RUN + "?run_id=1", (*HERE, f"/ml{RUN}?run_id=1")),
        ("/team-a", (*HERE, "/ml/")),
        ("/%74eam-a" + RUN, (*HERE, f"/ml{RUN}")),
        ("//team-a" + RUN, (*HERE, f"/ml{RUN}")),
        (RUN, (*DEFAULT, RUN)),
        ("/mlflow" + RUN, (*DEFAULT, RUN)),
        ("/team-ab" + RUN, (*DEFAULT, "/team-ab" + RUN)),
        ("/x/../team-a" + RUN, (*DEFAULT, "/x/../team-a" + RUN)),
    ],
)
def test_requests_go_to_the_registry_of_their_mount(
    addon: Assembled, use_rules: UseRules, path: str, expected: tuple[str, str, int, str, str]
) -> None:
    """The address, the name in Host and the base path are those of the mount's registry."""
    use_rules(rules(TEAM_A))
    flow = send(addon, path, host="upstream")
    assert went_to(flow) == expected
    own = expected[1] == "a.example"
    assert upstream_of(flow) == (("a.example", 8443, "/team-a") if own else ("upstream", 80))
    assert ended(flow).mount == ("/team-a" if own else "")


@pytest.mark.parametrize("climb", ["/..", "/%2e%2e", "/..%2F..", "/x/../..", "/%252e%252e"])
def test_climbing(addon: Assembled, use_rules: UseRules, climb: str) -> None:
    """A path cannot leave the base path of a mount's registry."""
    use_rules(rules(TEAM_A))
    flow = send(addon, f"/team-a{climb}/other{RUN}", host="upstream")
    assert flow.response is not None
    assert flow.response.status_code == 400


@pytest.mark.parametrize("trusted", [[], ["127.0.0.0/8"]])
def test_claims_of_a_client(addon: Assembled, use_rules: UseRules, trusted: list[str]) -> None:
    """X-Forwarded-Prefix and -Host choose no mount, not even from a trusted balancer."""
    use_rules(rules(TEAM_A, forwarded={"send": True, "trusted": trusted}))
    headers = {"X-Forwarded-Prefix": "/team-a", "X-Forwarded-Host": "a.example:8443"}
    assert went_to(send(addon, RUN, host="upstream", headers=headers)) == (*DEFAULT, RUN)
    flow = send(addon, "/team-a" + RUN, host="upstream", headers={"X-Forwarded-Prefix": "/mlflow"})
    assert went_to(flow) == (*HERE, f"/ml{RUN}")
    prefix = "/mlflow/team-a" if trusted else "/team-a"
    assert flow.request.headers["x-forwarded-prefix"] == prefix


def test_ipv6(addon: Assembled, use_rules: UseRules) -> None:
    """An address in Host has brackets."""
    use_rules(rules({"path": "/six", "upstream": "http://[::1]:5000"}))
    flow = send(addon, "/six" + RUN, host="upstream")
    assert went_to(flow) == ("http", "::1", 5000, "[::1]:5000", RUN)


def test_a_kept_host(addon: Assembled, use_rules: UseRules) -> None:
    """With mitmproxy's option keep_host_header, Host is the client's for all registries."""
    use_rules(rules(TEAM_A))
    addon.traffic.rules.keeps_host = True
    assert went_to(send(addon, "/team-a" + RUN, host="upstream"))[:4] == (*HERE[:3], "upstream")


def test_a_forward_proxy_has_no_mounts(addon: Assembled, use_rules: UseRules) -> None:
    """Its clients name the registry themselves."""
    use_rules(rules(TEAM_A))
    flow = send(addon, "/team-a" + RUN, host="registry.hokus.ai", mode="regular")
    assert went_to(flow)[1] == "registry.hokus.ai"
    assert flow.request.path == "/team-a/ajax-api/2.0/mlflow/runs/get"


@pytest.mark.parametrize(
    ("path", "option", "status"),
    [
        ("/team-a" + FILE, "", 503),
        ("/team-a/" + FILE, "", 503),
        ("/team-a" + FILE.replace("artifacts", "artifact%73"), "", 503),
        (FILE, "", None),
        ("/mlflow" + FILE, "", None),
        ("/team-b" + FILE, "", None),
        ("/team-a" + RUN, "", None),
        ("/team-a" + FILE, "true", 503),
        (FILE, "false", 503),
        ("/team-b" + FILE, "false", 503),
    ],
)
def test_switches(
    addon: Assembled, use_rules: UseRules, path: str, option: str, status: int | None
) -> None:
    """The switch of a mount is for its requests alone; the one of the command line for all."""
    team_b = {"path": "/team-b", "upstream": "http://b.example"}
    use_rules(rules(TEAM_A | {"artifacts": {"enabled": False}}, team_b))
    addon.options(mlflow_serve_artifacts=option)
    flow = send(addon, path, host="upstream")
    assert (flow.response and flow.response.status_code) == status


def test_a_request_that_another_addon_moves(addon: Assembled, use_rules: UseRules) -> None:
    """It is refused if the mount of the registry to which it goes refuses it."""
    use_rules(rules(TEAM_A | {"artifacts": {"write": False}}))
    for method, may_go in (("PUT", False), ("GET", True)):
        flow = send(addon, FILE, method=method, host="upstream")
        assert addon.traffic.may_go(flow)
        flow.request.host, flow.request.port = "a.example", 8443
        assert addon.traffic.may_go(flow) is may_go


def test_options_that_lead_around(addon: Assembled, use_rules: UseRules) -> None:
    """They are refused as soon as one mount refuses anything."""
    use_rules(rules(TEAM_A | {"artifacts": {"read": False}}))
    with pytest.raises(Exception, match=r"switched off \(mounts\[2\]\.artifacts\.read\)"):
        addon.options(ignore_hosts=["x"])


@pytest.mark.parametrize(
    ("location", "seen"),
    [
        ("https://a.example:8443/ml/x?y#z", "http://proxy:8080/team-a/x?y#z"),
        ("/ml/x", "/team-a/x"),
        ("/elsewhere", "/team-a/elsewhere"),
        ("http://upstream/x", "http://upstream/x"),
        ("https://other.example/ml/x", "https://other.example/ml/x"),
    ],
)
def test_redirects(addon: Assembled, use_rules: UseRules, location: str, seen: str) -> None:
    """A redirect within the mount's registry stays below the mount."""
    use_rules(rules(TEAM_A, errors={"api_paths": []}))
    flow = make_flow("/team-a/x", host="upstream")
    flow_state.put(flow, flow_state.FlowState("proxy:8080"))
    addon.run("requestheaders", flow)
    headers = {"location": location, "set-cookie": "a=b; Path=/ml"}
    response = respond(addon, flow, status=302, headers=headers)
    assert response.headers["location"] == seen
    assert response.headers["set-cookie"] == "a=b; Path=/team-a"


def test_a_replay(addon: Assembled, use_rules: UseRules) -> None:
    """It goes to the same registry, under the same path and by the switch of its mount."""
    use_rules(rules(TEAM_A))
    flow = send(addon, "/team-a" + FILE, host="upstream")
    before = went_to(flow)
    flow.is_replay = "request"
    addon.run("request", flow)
    assert flow_state.of(flow).mount == "/team-a"
    assert went_to(flow) == before == (*HERE, "/ml" + FILE)
    use_rules(rules(TEAM_A | {"artifacts": {"read": False}}))
    addon.run("request", flow)
    assert flow.response is not None
    assert flow.response.status_code == 503


def test_credentials(
    addon: Assembled, use_rules: UseRules, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each registry gets its own, whatever mount the request is for."""
    monkeypatch.setenv("OF_A", "token-of-a")
    monkeypatch.setenv("OF_DEFAULT", "user:password")
    credentials = [
        {"host": "a.example:8443", "env": "OF_A"},
        {"host": "upstream", "scheme": "basic", "env": "OF_DEFAULT"},
    ]
    team_b = {"path": "/team-b", "upstream": "http://b.example"}
    use_rules(rules(TEAM_A, team_b, upstream={"credentials": credentials}))
    added = {}
    for mount in ("/team-a", "/team-b", ""):
        flow = send(addon, mount + RUN, host="upstream")
        assert addon.traffic.may_go(flow)
        added[mount] = flow_state.of(flow).authorization
        assert "authorization" not in flow.request.headers
    basic = b"Basic " + base64.b64encode(b"user:password")
    assert added == {"/team-a": b"Bearer token-of-a", "/team-b": b"", "": basic}


def test_credentials_of_the_environment(addon: Assembled, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy's own questions carry them to the command line's registry alone."""
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret")
    health = addon.traffic.health
    config = addon.traffic.rules.get().rules.health
    assert health._client("http://127.0.0.1:1", config, "t", "").authorization == "Bearer secret"
    assert health._client("http://127.0.0.1:1", config, "t", "/team-a").authorization is None


@pytest.mark.parametrize("mount", ["/team-a", ""])
def test_the_finder(addon: Assembled, use_rules: UseRules, mount: str) -> None:
    """Its questions go to the mount's registry as they are, also below another mount's path."""
    use_rules(rules(TEAM_A, {"path": "/mlflow/deep", "upstream": "http://deep.example"}))
    mark = addon.traffic.health.token + health_service.AS_IT_IS
    mark += f" for {mount}" if mount else ""
    path = "/mlflow/deep/api/2.0/mlflow/experiments/search?max_results=1"
    headers = {health_service.PROBE_HEADER: mark}
    flow = send(addon, path, host="upstream", headers=headers)
    assert went_to(flow) == (*(HERE if mount else DEFAULT), path)
    assert health_service.PROBE_HEADER not in flow.request.headers
    # The places in its answer are those of the registry.
    response = respond(addon, flow, status=302, headers={"location": "/mlflow/"})
    assert response.headers["location"] == "/mlflow/"


def test_a_false_finder(addon: Assembled, use_rules: UseRules) -> None:
    """A client that names a mount like the finder is a client."""
    use_rules(rules(TEAM_A))
    headers = {health_service.PROBE_HEADER: f"x{health_service.AS_IT_IS} for /team-a"}
    assert went_to(send(addon, RUN, host="upstream", headers=headers)) == (*DEFAULT, RUN)


def test_findings_count_for_one_mount(addon: Assembled, use_rules: UseRules) -> None:
    """The dialect of one mount is not that of another one, even on the same host."""
    same = {"path": "/same", "upstream": "https://a.example:8443"}
    use_rules(rules(TEAM_A, same))
    dialects = addon.the(Dialects)
    dialects.watch.unclear.add(("a.example", 8443, "/same"))
    dialects.watch.learn(("a.example", 8443, "/same"), Finding("ajax", "/deep", "served"))
    sent = {m: went_to(send(addon, m + RUN, host="upstream"))[4] for m in ("/team-a", "/same", "")}
    ajax = RUN.replace("api", "ajax-api")
    assert sent == {"/team-a": f"/ml{RUN}", "/same": f"/deep{ajax}", "": RUN}


def test_errors(addon: Assembled, use_rules: UseRules) -> None:
    """An error of a mount's registry becomes JSON like any other."""
    use_rules(rules(TEAM_A))
    flow = send(addon, "/team-a" + RUN, host="upstream")
    html = {"content-type": "text/html"}
    response = respond(addon, flow, status=404, content=b"<p>no</p>", headers=html)
    assert json.loads(response.content or b"")["error_code"] == "RESOURCE_NOT_FOUND"
    outside = make_flow("/nowhere", host="upstream")
    use_rules(yaml.safe_dump({"mounts": ["/m", TEAM_A]}))
    addon.run("requestheaders", outside)
    assert outside.response is not None
    said = json.loads(outside.response.content or b"")["message"]
    assert said.startswith("Nothing is served here. Expected a path under /m or /team-a. (")


@pytest.mark.parametrize(("off", "error"), [(True, "HTTP/3 is not served while"), (False, None)])
def test_http3(
    addon: Assembled,
    use_rules: UseRules,
    monkeypatch: pytest.MonkeyPatch,
    off: bool,
    error: str | None,
) -> None:
    """A client by HTTP/3 is turned away as soon as one mount refuses anything."""
    use_rules(rules(TEAM_A | {"artifacts": {"read": not off}}))
    client = make_flow("/", host="upstream").client_conn
    client.transport_protocol, client.proxy_mode = "udp", ProxyMode.parse("regular")
    clients = addon.the(Clients)
    monkeypatch.setattr(clients.limit, "admits", lambda _: True)
    clients.client_connected(client)
    assert (client.error or "").startswith(error or "")
    assert (client.error is None) is (error is None)
