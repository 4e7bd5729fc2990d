"""The image and the Deployment together: built by buildah, run by podman."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import lab
import pytest
import yaml
from install.programs import NoEngineError
from lab.engine import BASE, MACHINE, NETWORK, Engine, Node
from lab.pod import CONTAINER, Pod
from soak.load import SEARCH, Load
from support import config_map
from support.client import request
from support.examples import Page
from support.upstream import OK, Upstream
from support.waiting import eventually

from addon.hooks.drain import QUIET

pytestmark = pytest.mark.slow

STORY = lab.ROOT / "scripts" / "demo" / "client.py"
ARTIFACT = "/api/2.0/mlflow-artifacts/artifacts/x"


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """An engine with the image."""
    with contextlib.ExitStack() as stop:
        try:
            started = stop.enter_context(Engine())
        except NoEngineError as error:
            pytest.skip(str(error))
        yield started


@pytest.fixture
def node(engine: Engine) -> Iterator[Node]:
    """A machine for single containers."""
    there = Node(engine)
    yield there
    there.close()


def seen_from_a_pod(server: lab.Server | Upstream) -> str:
    """Return the URL under which a pod reaches a server on this machine."""
    return f"http://{MACHINE}:{urlsplit(server.url).port}"


def rules(**changes: dict[str, object]) -> str:
    """Return the base's rules with changes to some sections."""
    values = yaml.safe_load((BASE / "rules.yaml").read_text())
    for section, changed in changes.items():
        values[section] |= changed
    return yaml.safe_dump(values)


def run_client(url: str) -> None:
    """Upload, register and download with a real MLflow client."""
    done = subprocess.run(
        [lab.mlflow(3), STORY, url], capture_output=True, text=True, timeout=180, check=False
    )
    steps = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(steps) > 5, done.stderr
    assert [step for step in steps if not step["ok"]] == []


def test_content_of_the_image(engine: Engine, node: Node) -> None:
    """The image has the addon, its rules and its packages with bytecode, but no installers."""
    listed = "cd /opt && ls . mlflow-proxy && find mlflow-proxy venv/bin && ls -d /locks"
    shell = ["--network", "none", "--entrypoint", "/bin/sh", engine.image, "-c", f"{listed}; true"]
    found = set(node.podman("run", "--rm", *shell).splitlines())
    assert {"venv", "mlflow-proxy", "addon", "rules.yaml", "alive.py"} <= found
    sources = {Path(path) for path in found if path.startswith("mlflow-proxy/addon/")}
    compiled = {
        path.parent.with_name(path.name.partition(".")[0])
        for path in sources
        if path.suffix == ".pyc"
    }
    assert {path.with_suffix("") for path in sources if path.suffix == ".py"} == compiled
    assert not {path for path in found if re.match(r"venv/bin/pip|/locks|mlflow-proxy/tests", path)}
    image = json.loads(node.podman("image", "inspect", engine.image))[0]["Config"]
    assert (image["User"], image["StopSignal"]) == ("65532:65532", "SIGTERM")
    assert image["ExposedPorts"] == {"8080/tcp": {}}


@pytest.mark.parametrize("upstream", ["", "https://user:secret@registry.example.org"])
def test_a_wrong_upstream(upstream: str, engine: Engine, node: Node) -> None:
    """The message names the variable and shows no password."""
    options = ["--rm", "--network", "none", "--env", f"UPSTREAM={upstream}"]
    with pytest.raises(RuntimeError) as failed:
        node.podman("run", *options, engine.image)
    said = str(failed.value).partition("\n")[2]
    assert "\nUPSTREAM: " in f"\n{said}"
    assert "secret" not in said


def test_a_stop_at_the_start(engine: Engine, node: Node) -> None:
    """Process 1 hears SIGTERM before mitmdump is loaded."""
    options = ["--detach", "--name", "proxy", "--network", "none", "--env", "UPSTREAM=http://x"]
    node.podman("run", *options, engine.image)
    process = Path("/proc", node.podman("inspect", "--format", "{{.State.Pid}}", "proxy").strip())
    eventually(lambda: _handles(process, signal.SIGTERM))
    node.podman("stop", "proxy")
    state = json.loads(node.podman("inspect", "proxy"))[0]["State"]
    assert state["ExitCode"] == 0, node.podman("logs", "proxy")


def _handles(process: Path, number: int) -> bool:
    (mask,) = re.findall(r"(?m)^SigCgt:\s+(\w+)$", (process / "status").read_text())
    return bool(int(mask, 16) >> (number - 1) & 1)


def test_compose(engine: Engine, node: Node, tmp_path: Path) -> None:
    """The services on the page work with their options; MLflow accepts the name the proxy uses."""
    services = yaml.safe_load(Page("compose.md", tmp_path, {}).block("services:"))["services"]
    service, port, behind = services["proxy"], lab.free_port(), lab.free_port()
    upstream = urlsplit(service["environment"]["UPSTREAM"])
    assert upstream.hostname in services
    options = ["--detach", "--name", "proxy", "--network", NETWORK]
    options += ["--publish", f"127.0.0.1:{port}:{service['ports'][0].partition(':')[2]}"]
    options += ["--add-host", f"{upstream.hostname}:{MACHINE}"]
    there = f"http://{upstream.hostname}:{behind}"
    options += ["--env", f"UPSTREAM={there}", "--tmpfs", service["tmpfs"][0]]
    options += [f"--read-only={service['read_only']}", "--cap-drop", service["cap_drop"][0]]
    options += ["--security-opt", service["security_opt"][0].partition(":")[0]]
    hosts = re.findall(r"--allowed-hosts \S+", services["mlflow"]["command"])[0]
    allowed = hosts.replace(str(upstream.port), str(behind)).split()
    with lab.registry(tmp_path, ajax_only=False, options=allowed, port=behind) as mlflow:
        node.podman("run", *options, engine.image, *service["command"])
        mlflow.wait("/health")
        eventually(lambda: _is_healthy(node), seconds=60)
        assert request(f"http://127.0.0.1:{port}", SEARCH).status == 200


def test_a_container(engine: Engine, node: Node) -> None:
    """It stays up without a registry, and stops within `stop`'s ten seconds without a balancer."""
    port = lab.free_port()
    options = ["--detach", "--name", "proxy", "--read-only", "--tmpfs", "/tmp"]
    options += ["--network", NETWORK, "--publish", f"127.0.0.1:{port}:8080"]
    options += ["--env", f"UPSTREAM=http://{MACHINE}:{lab.free_port()}/mlflow"]
    node.podman("run", *options, engine.image)
    eventually(lambda: _is_healthy(node), seconds=60)
    answer = request(f"http://127.0.0.1:{port}", ARTIFACT)
    assert (answer.status, json.loads(answer.body)["source"]) == (502, "proxy")
    node.podman("stop", "proxy")
    state = json.loads(node.podman("inspect", "proxy"))[0]["State"]
    log = node.podman("logs", "proxy")
    assert state["ExitCode"] == 0, log
    assert "no load balancer asks" in log


def _is_healthy(node: Node) -> bool:
    with contextlib.suppress(RuntimeError):
        node.podman("healthcheck", "run", "proxy")
        return True
    return False


def test_a_pod(engine: Engine, external_registry: lab.Server) -> None:
    """The pod runs as the manifests say, serves a real client and reloads changed rules."""
    with Pod(engine, seen_from_a_pod(external_registry)) as pod:
        pod.wait("/readyz/local")
        run_client(pod.url)
        page = request(f"http://127.0.0.1:{pod.metrics_port}", "/metrics")
        assert b'mlflow_proxy_responses_total{status="200"}' in page.body
        pod.node.podman("healthcheck", "run", CONTAINER)

        status = (pod.process() / "status").read_text()
        assert re.search(r"^Uid:\s+65532\s+65532\s+65532\s+65532$", status, re.MULTILINE)
        assert re.search(r"^CapEff:\s+0+\nCapBnd:\s+0+$", status, re.MULTILINE)
        assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)
        assert re.search(r"^NSpid:.*\s1$", status, re.MULTILINE)
        assert (pod.process() / "comm").read_text().strip() == "python"
        assert pod.memory_limit() == 3 * 2**30
        # Mount points and their options: see proc_pid_mountinfo(5).
        mounts = [line.split() for line in (pod.process() / "mountinfo").read_text().splitlines()]
        writable = {each[4] for each in mounts if "rw" in each[5].split(",")}
        assert {place.split("/")[1] for place in writable} == {"dev", "proc", "sys", "tmp"}

        folder = pod.volume("mlflow-proxy-rules")
        config_map.put(folder, "rules.yaml", rules(artifacts={"enabled": False}))
        manual = (lab.ROOT / "addon" / "cli" / "README.md").read_text()
        (command,) = re.findall(r"(?m)^docker exec mlflow-proxy (.+)$", manual)
        taken = pod.node.podman("exec", CONTAINER, *command.split())
        assert taken == "1: taken: /etc/mlflow-proxy/rules.yaml\n"
        assert request(pod.url, ARTIFACT).status == 503
        config_map.put(folder, "rules.yaml", rules())
        eventually(lambda: request(pod.url, ARTIFACT).status == 404)

        eventually(lambda: _statuses(pod.log()) == {503, 404})
        assert "Traceback" not in pod.log(), pod.log()


def _statuses(log: str) -> set[int]:
    """Return the statuses in the access log for the artifact."""
    lines = (json.loads(line) for line in log.splitlines() if line.startswith("{"))
    return {line["status"] for line in lines if line["path"] == ARTIFACT}


def test_drain(engine: Engine, scripted: Upstream) -> None:
    """A request in progress completes while new connections are refused."""
    scripted.answer = OK
    going, go_on = threading.Event(), threading.Event()

    def parts() -> Iterator[bytes]:
        yield bytes(2**20)
        going.set()
        go_on.wait(60)
        yield bytes(2**20)

    changed = rules(drain={"grace": 3})
    with (
        Pod(engine, seen_from_a_pod(scripted), rules=changed) as pod,
        ThreadPoolExecutor(2) as pool,
    ):
        pod.wait("/readyz/local")
        scripted.requests.clear()
        client = http.client.HTTPConnection("127.0.0.1", pod.port, timeout=60)
        headers = {"Content-Length": str(2 * 2**20)}
        upload = pool.submit(client.request, "PUT", ARTIFACT, parts(), headers)
        going.wait(60)
        stopped = pool.submit(pod.stop, 80)
        eventually(lambda: request(pod.url, "/readyz/local").status == 503)
        eventually(lambda: _refuses(pod), seconds=60)
        time.sleep(2 * QUIET)  # Time in which the proxy might end too early.
        go_on.set()
        upload.result()
        assert client.getresponse().status == 200
        client.close()
        assert stopped.result() == 0, pod.log()
    sizes = [len(each.body) for each in scripted.requests if each.head.startswith(b"PUT ")]
    assert sizes == [2 * 2**20]


def _refuses(pod: Pod) -> bool:
    try:
        request(pod.url, "/livez", timeout=5)
    except (OSError, http.client.HTTPException):
        return True
    return False


def test_a_rollout(engine: Engine, external_registry: lab.Server, tmp_path: Path) -> None:
    """A new pod serves before an old one stops, and no client notices."""
    upstream = seen_from_a_pod(external_registry)
    # Longer than HAProxy takes to notice, but shorter than the default of ten seconds.
    changed = rules(drain={"grace": 4})
    ports = lab.free_port(), lab.free_port()
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    with contextlib.ExitStack() as stop:
        old = stop.enter_context(Pod(engine, upstream, rules=changed, port=ports[0]))
        balancer = stop.enter_context(lab.balancer(tmp_path, urls))
        old.wait("/readyz")
        balancer.wait_for_port()
        eventually(lambda: request(balancer.url, "/readyz").status == 200)
        with Load(balancer.url, 3) as load:
            new = stop.enter_context(Pod(engine, upstream, rules=changed, port=ports[1]))
            new.wait("/readyz/local")
            assert old.stop(80) == 0, old.log()
            served = new.log().count('"status":200')
            eventually(lambda: new.log().count('"status":200') > served + 10, seconds=60)
        counts = load.take()
    assert counts["right"] == counts["requests"] > 0, (counts, load.examples)
