"""Several workers behind HAProxy: one address, and clients do not notice restarts."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lab
import pytest
from soak.load import SEARCH, Load
from support import files_registry
from support.client import request
from support.upstream import OK, Received, Upstream, response
from support.waiting import eventually

from addon.cli import main as cli
from addon.workers.haproxy_config import SHIPPED

FILE = "/api/2.0/mlflow-artifacts/artifacts/a.bin"
MIB = 2**20
# HAProxy notices a draining worker within this time.
DRAIN = {"grace": 3, "timeout": 60}


@contextlib.contextmanager
def workers(
    folder: Path, upstream: str, count: int, *options: str, **changes: object
) -> Iterator[lab.Server]:
    """Run workers; they have to end cleanly, without a traceback in the log."""
    rules = lab.write_rules(
        folder / "rules.yaml", external=["127.0.0.1"], **({"drain": DRAIN} | changes)
    )
    port = lab.free_port()
    options = ("--set", f"mlflow_rules={rules}", *options)
    command = lab.workers_command(upstream, count, port=port, options=options)
    url, env = f"http://127.0.0.1:{port}", lab.workers_environment()
    with lab.Server(command, url=url, log=folder / "log", env=env) as server:
        yield server.wait("/livez")
        # A second signal ends all processes immediately.
        for _ in range(1 if "draining" in server.text() else 2):
            server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0, server.text()
        assert "Traceback" not in server.text(), server.text()
        assert mitmdumps(folder) == []


def mitmdumps(folder: Path, *options: str) -> list[int]:
    """Return the process ids of the workers, or of the one with the given options."""
    marks = {f"mlflow_rules={folder / 'rules.yaml'}", *options}
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if marks <= {*line} and "--workers" not in line:
                found.append(int(process.name))
    return found


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[lab.Server]:
    with files_registry.start(tmp_path_factory.mktemp("registry")) as server:
        yield server.wait()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workers")


@pytest.fixture(scope="module")
def two(registry: lab.Server, folder: Path) -> Iterator[lab.Server]:
    """Two workers that trust HAProxy, each with its own access log."""
    log = f"mlflow_access_log={folder}/access-{{worker}}.log"
    trusted = {"trusted": ["127.0.0.1/32"]}
    with workers(folder, registry.url, 2, "--set", log, forwarded=trusted) as server:
        yield server


def test_both_workers_serve(two: lab.Server, folder: Path) -> None:
    """Both workers serve, and their logs name the client's real address, not its own claim."""
    head = f"GET {SEARCH} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n"
    address = ("127.0.0.1", int(two.url.rpartition(":")[2]))

    def ask() -> bytes:
        # All of 127.0.0.0/8 is this machine.
        with socket.create_connection(address, source_address=("127.0.0.2", 0)) as client:
            client.sendall(head.encode())
            return client.recv(65536)

    def clients(number: int) -> set[str]:
        log = folder / f"access-{number}.log"
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        return {line["client"] for line in lines if line["path"] == SEARCH.partition("?")[0]}

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: ask(), range(20)))
    assert {answer.partition(b"\r\n")[0] for answer in answers} == {b"HTTP/1.1 200 OK"}
    for number in (1, 2):
        eventually(lambda number=number: clients(number) == {"127.0.0.2"})  # type: ignore[misc]


def takes(port: str, *options: str, user: int | None = None) -> int:
    """Try to bind a port as another program or another user; return 0 on success."""
    code = (
        "import socket, sys\ns = socket.socket()\n"
        "for name in sys.argv[2:]: s.setsockopt(socket.SOL_SOCKET, getattr(socket, name), 1)\n"
        "try: s.bind(('127.0.0.1', int(sys.argv[1])))\n"
        "except OSError: sys.exit(1)\n"
    )
    # Another user may not be allowed to read the environment of the tests.
    python = sys.executable if user is None else "/usr/bin/python3"
    command = [python, "-c", code, port, *options]
    return subprocess.run(command, check=False, user=user, cwd="/").returncode


def test_new_rules(two: lab.Server, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`reload` reaches every worker, and restarts none."""
    before = mitmdumps(folder)
    assert cli.main(["reload", str(two.process.pid)]) == 0
    taken = [f"{pid}: taken: {folder / 'rules.yaml'}" for pid in sorted(before)]
    assert capsys.readouterr().out.splitlines() == taken
    assert mitmdumps(folder) == before


def test_a_rolling_restart(two: lab.Server, folder: Path) -> None:
    """SIGHUP replaces all workers, and no upload, download or small request is lost."""
    before = mitmdumps(folder)
    with Load(two.url, 6) as load:
        os.kill(two.process.pid, signal.SIGHUP)
        eventually(lambda: "all workers were restarted" in two.text(), 60)
    counts = load.take()
    assert counts["right"] == counts["requests"] > 0, (counts, load.examples)
    assert load.check_doubtful() == 0
    after = mitmdumps(folder)
    assert len(after) == 2
    assert not set(after) & set(before)


def test_a_worker_that_dies(two: lab.Server, folder: Path) -> None:
    """A worker that dies is started again; the other one serves meanwhile."""
    before = mitmdumps(folder)
    line = Path(f"/proc/{before[0]}/cmdline").read_text().split("\0")
    port = line[line.index("--listen-port") + 1]
    assert takes(port) == 1
    os.kill(before[0], signal.SIGKILL)
    eventually(lambda: before[0] not in mitmdumps(folder))
    # Another program would get requests with their credentials.
    assert takes(port, "SO_REUSEADDR") == 1
    if os.geteuid() == 0:
        assert takes(port, "SO_REUSEADDR", "SO_REUSEPORT", user=65534) == 1
    assert takes(port, "SO_REUSEPORT") == 0  # A new worker can bind it.
    for _ in range(20):
        assert request(two.url, SEARCH).status == 200
    eventually(lambda: "has ended with -9, and is started again in " in two.text())
    eventually(lambda: two.tail(1).endswith("serves again"), 30)
    assert len(mitmdumps(folder)) == 2


def test_errors_without_registry_or_workers(tmp_path: Path) -> None:
    """A worker reports that the registry is down; HAProxy reports that no worker is up."""
    away = f"http://127.0.0.1:{lab.free_port()}"
    changes = {"drain": {"grace": 3600}, "artifacts": {"enabled": False}}
    with workers(tmp_path, away, 1, **changes) as server:
        # The worker also answers while the client is still sending.
        answer = request(server.url, FILE, method="PUT", body=bytes(20 * MIB))
        assert (answer.status, json.loads(answer.body)["error_code"]) == (503, "ARTIFACTS_DISABLED")
        answer = request(server.url, SEARCH)
        document = json.loads(answer.body)
        assert (answer.status, document["source"]) == (502, "proxy")
        assert "it refused the connection" in document["message"]
        assert request(server.url, "/readyz").status == 503
        assert request(server.url, "/readyz/local").status == 200

        os.kill(mitmdumps(tmp_path)[0], signal.SIGKILL)
        answer = request(server.url, SEARCH)
        document = json.loads(answer.body)
        assert (answer.status, document["source"]) == (503, "balancer")
        assert answer.headers["Cache-Control"] == "no-store"
        assert document["error_code"] == "TEMPORARILY_UNAVAILABLE"
        eventually(lambda: request(server.url, SEARCH).status == 502, 30)

        # In the grace period the worker still serves, though HAProxy has noticed that it will end.
        os.kill(server.process.pid, signal.SIGTERM)
        eventually(lambda: request(server.url, "/readyz/local").status == 503)
        time.sleep(3)
        assert json.loads(request(server.url, SEARCH).body)["source"] == "proxy"


def test_retries(tmp_path: Path) -> None:
    """HAProxy retries the request of a worker that dies if that is safe; otherwise it sends 502."""

    def hang_once(received: Received, connection: socket.socket) -> bool:
        if len(upstream.requests) > 1:
            connection.sendall(OK)
            return True
        connection.recv(1)
        return False

    mark = "modify_headers=/~q/X-Worker/{worker}"
    with (
        Upstream(hang_once) as upstream,
        workers(tmp_path, upstream.url, 2, "--set", mark) as server,
        ThreadPoolExecutor(1) as pool,
    ):
        for method, status, times in (("POST", 502, 1), ("GET", 200, 2)):
            upstream.requests.clear()
            lie = {"X-Forwarded-Prefix": "/elsewhere"}
            asked = pool.submit(request, server.url, SEARCH, method=method, headers=lie)
            eventually(lambda: bool(upstream.requests))
            (number,) = upstream.requests[0].header("X-Worker")
            os.kill(mitmdumps(tmp_path, mark.format(worker=number))[0], signal.SIGKILL)
            answer = asked.result()
            assert upstream.requests[0].header("X-Forwarded-Prefix") == []
            assert (answer.status, len(upstream.requests)) == (status, times)
            if method == "POST":
                assert json.loads(answer.body)["source"] == "balancer"
                eventually(lambda: "serves again" in server.text(), 30)


def test_the_end(tmp_path: Path) -> None:
    """After SIGTERM, a running download completes and new requests are refused."""
    begun: list[Received] = []
    halves = socket.socketpair()

    def answer(received: Received, connection: socket.socket) -> bool:
        if "a.bin" not in received.target:
            connection.sendall(OK)
            return True
        begun.append(received)
        whole = response("200 OK", bytes(MIB))
        connection.sendall(whole[:-1000])
        halves[0].recv(1)
        connection.sendall(whole[-1000:])
        return True

    with (
        Upstream(answer) as upstream,
        workers(tmp_path, upstream.url, 1, drain={"grace": 0}) as server,
    ):
        with ThreadPoolExecutor(1) as pool:
            download = pool.submit(request, server.url, FILE)
            eventually(lambda: bool(begun))
            os.kill(server.process.pid, signal.SIGTERM)
            eventually(lambda: request(server.url, SEARCH).status == 503)
            assert not download.done()
            halves[1].send(b"x")
            assert download.result().body == bytes(MIB)
        assert server.process.wait(30) == 0


def test_in_a_terminal(registry: lab.Server, tmp_path: Path) -> None:
    """SIGHUP restarts the workers as long as the terminal is open, and ends them afterwards."""
    rules = lab.write_rules(tmp_path / "rules.yaml", external=[], drain={"grace": 0})
    command = lab.workers_command(
        registry.url, 1, port=lab.free_port(), options=("--set", f"mlflow_rules={rules}")
    )
    log, words = tmp_path / "log", [str(word) for word in command]
    pid, terminal = pty.fork()
    if pid == 0:
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT), 2)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        os.execve(words[0], words, {**os.environ, **lab.workers_environment()})
    try:
        eventually(lambda: log.exists() and "worker(s) serve" in log.read_text(), 60)
        os.kill(pid, signal.SIGHUP)
        eventually(lambda: "all workers were restarted" in log.read_text(), 60)
    finally:
        os.close(terminal)
    eventually(lambda: os.waitpid(pid, os.WNOHANG)[0] == pid, 60)
    assert log.read_text().count("restarting one worker after another") == 1
    assert mitmdumps(tmp_path) == []


def test_a_full_pipe(tmp_path: Path) -> None:
    """With a full log pipe, a dead worker is still restarted, and SIGTERM still ends all."""
    rules = lab.write_rules(tmp_path / "rules.yaml", external=[], drain={"grace": 0})
    port = lab.free_port()
    url = f"http://127.0.0.1:{port}"
    read, write = os.pipe()
    os.set_blocking(write, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(write, b"x" * 4096)
    os.set_blocking(write, True)
    options = ("--set", f"mlflow_rules={rules}")
    command = lab.workers_command("http://127.0.0.1:9", 1, port=port, options=options)
    env = os.environ | lab.workers_environment()

    def serves() -> bool:
        with contextlib.suppress(OSError):
            return request(url, "/livez").status == 200
        return False

    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=write, stderr=write, env=env
    )
    try:
        eventually(serves, 60)
        (worker,) = mitmdumps(tmp_path)
        os.kill(worker, signal.SIGKILL)
        eventually(lambda: mitmdumps(tmp_path) not in ([], [worker]), 30)
        eventually(serves, 60)
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        for number in mitmdumps(tmp_path):
            os.kill(number, signal.SIGKILL)
        os.close(read)
        os.close(write)


def test_bad_rules(tmp_path: Path) -> None:
    """Bad rules end all processes with the worker's own message and exit code 1."""
    (tmp_path / "rules.yaml").write_text("mounts: 7\n")
    options = ("--set", f"mlflow_rules={tmp_path / 'rules.yaml'}")
    command = lab.workers_command("http://127.0.0.1:1", 2, port=1, options=options)
    env = lab.workers_environment()
    with lab.Server(command, url="", log=tmp_path / "log", env=env) as server:
        assert server.process.wait(30) == 1
        assert "rules.yaml:1: mounts: 7: expected a list" in server.text()
        assert "workers: worker1 does not start" in server.text()
        assert "Traceback" not in server.text()


def test_the_shipped_configuration() -> None:
    """HAProxy accepts the shipped configuration; its own answers have MLflow's error form."""
    run = subprocess.run(
        [lab.binary("haproxy"), "-c", "-f", SHIPPED], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "WARNING" not in run.stderr
    errors = re.findall(r"http-error status (\d+) .* string '(.*)'", SHIPPED.read_text())
    assert [status for status, _ in errors] == ["400", "408", "500", "501", "502", "503", "504"]
    for _, text in errors:
        assert set(json.loads(text)) == {"error_code", "message", "source"}
