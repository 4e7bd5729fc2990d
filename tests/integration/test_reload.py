"""Changes of the rules while the proxy runs."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Event

import lab
import pytest
from support import config_map
from support.client import request
from support.upstream import Upstream, response
from support.waiting import eventually

ARTIFACT = "/api/2.0/mlflow-artifacts/artifacts/x"


def write(path: Path, enabled: bool) -> None:
    lab.write_rules(path, external=["127.0.0.1"], artifacts={"enabled": enabled})


def in_place(path: Path, enabled: bool) -> None:
    """Change the file as an editor that truncates it does."""
    write(path, enabled)


def rename(path: Path, enabled: bool) -> None:
    """Change the file as most editors and deployment tools do."""
    write(path.with_suffix(".new"), enabled)
    path.with_suffix(".new").replace(path)


def symlink(path: Path, enabled: bool) -> None:
    """Change the file as Kubernetes does."""
    new = path.with_suffix(".new")
    write(new, enabled)
    config_map.put(path.parent, path.name, new.read_text())


@pytest.mark.parametrize("change", [in_place, rename, symlink])
def test_a_change(scripted: Upstream, tmp_path: Path, change: Callable[[Path, bool], None]) -> None:
    """A change of the rules takes effect without a restart, and so does changing it back."""
    scripted.answer = response("200 OK", b"x")
    rules = tmp_path / "rules.yaml"
    change(rules, True)
    with lab.proxy(scripted.url, rules, log=tmp_path / "log") as proxy:
        proxy.wait("/livez")
        assert request(proxy.url, ARTIFACT).status == 200
        change(rules, False)
        eventually(lambda: request(proxy.url, ARTIFACT).status == 503)
        change(rules, True)
        eventually(lambda: request(proxy.url, ARTIFACT).status == 200)
        assert proxy.text().count("the rules were read again") == 2


def test_a_bad_change(scripted: Upstream, tmp_path: Path) -> None:
    """After a bad change the old rules stay, with one error; /readyz shows it until the fix."""
    scripted.answer = response("200 OK", b"x")
    rules = tmp_path / "rules.yaml"
    write(rules, enabled=False)

    def rules_note() -> str:
        return str(json.loads(request(proxy.url, "/readyz").body)["rules"])

    with lab.proxy(scripted.url, rules, log=tmp_path / "log") as proxy:
        proxy.wait("/livez")
        assert rules_note() == "current"
        rules.write_text("artifacts: {enabled: perhaps}")
        eventually(lambda: rules_note().startswith("stale"))
        assert request(proxy.url, ARTIFACT).status == 503
        time.sleep(1.5)
        assert proxy.text().count("the old rules stay in force") == 1
        assert f"{rules}:1: artifacts.enabled: 'perhaps': expected true or false" in proxy.text()
        rules.unlink()
        eventually(lambda: proxy.text().count("the old rules stay in force") == 2)
        assert request(proxy.url, ARTIFACT).status == 503
        write(rules, enabled=True)
        eventually(lambda: rules_note() == "current")
        assert request(proxy.url, ARTIFACT).status == 200
        assert proxy.process.poll() is None


ALIASES = "a0: &a0 [1, 1]\n" + "".join(
    f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 30)
)
POISONS: dict[str, Callable[[Path], object]] = {
    # libyaml would end the process.
    "nested too deep": lambda path: path.write_text(f"mounts: {'[' * 900}{']' * 900}"),
    # This would take gigabytes of memory.
    "too many values": lambda path: path.write_text(ALIASES),
    # This would block all later reloads.
    "expected a regular file": os.mkfifo,
}


def test_harmful_files(scripted: Upstream, tmp_path: Path) -> None:
    """A file that would crash, block or fill the proxy is refused; a later good one is read."""
    scripted.answer = response("200 OK", b"x")
    rules = tmp_path / "rules.yaml"
    write(rules, enabled=False)
    with lab.proxy(scripted.url, rules, log=tmp_path / "log") as proxy:
        proxy.wait("/livez")
        for words, put in POISONS.items():
            rules.unlink()
            put(rules)
            eventually(lambda words=words: words in proxy.text())  # type: ignore[misc]
            assert request(proxy.url, ARTIFACT).status == 503
        rules.unlink()
        write(rules, enabled=True)
        eventually(lambda: request(proxy.url, ARTIFACT).status == 200)
        assert proxy.memory() < 200 * 2**20
        assert "Traceback" not in proxy.text()


def test_sighup(scripted: Upstream, tmp_path: Path) -> None:
    """SIGHUP makes the proxy read the rules again, as in other servers, and does not end it."""
    scripted.answer = response("200 OK", b"x")
    rules = tmp_path / "rules.yaml"
    write(rules, enabled=True)
    with lab.proxy(scripted.url, rules, log=tmp_path / "log") as proxy:
        proxy.wait("/livez")
        for times in (1, 2):
            proxy.process.send_signal(signal.SIGHUP)
            eventually(lambda times=times: proxy.text().count("read again") == times)  # type: ignore[misc]
        assert request(proxy.url, ARTIFACT).status == 200


def test_a_start_with_a_pipe(tmp_path: Path) -> None:
    """A named pipe in place of the rules ends the proxy at start with a message."""
    os.mkfifo(tmp_path / "rules.yaml")
    with lab.proxy("http://127.0.0.1:9", tmp_path / "rules.yaml", log=tmp_path / "log") as proxy:
        assert proxy.process.wait(30) == 1
        assert "rules.yaml: cannot read the rules: expected a regular file" in proxy.text()
        assert "Traceback" not in proxy.text()


def test_the_environment_takes_precedence(scripted: Upstream, tmp_path: Path) -> None:
    """An environment variable overrides the file also after a reload."""
    scripted.answer = response("200 OK", b"x")
    rules = tmp_path / "rules.yaml"
    write(rules, enabled=True)
    env = {"MLFLOW_SERVE_ARTIFACTS": "false"}
    with lab.proxy(scripted.url, rules, log=tmp_path / "log", env=env) as proxy:
        proxy.wait("/livez")
        rules.write_text(rules.read_text() + "\n")
        eventually(lambda: "the rules were read again" in proxy.text())
        assert request(proxy.url, ARTIFACT).status == 503


def test_under_load(scripted: Upstream, tmp_path: Path) -> None:
    """Under load no request fails, and each one is handled by the same rules throughout."""

    def answer(received: object, connection: object) -> None:
        page = f"<title>{received.target}</title>"  # type: ignore[attr-defined]
        time.sleep(0.02)
        connection.sendall(response("404 Not Found", page.encode()))  # type: ignore[attr-defined]

    scripted.answer = answer
    rules = tmp_path / "rules.yaml"

    def put(name: str) -> None:
        lab.write_rules(
            rules.with_suffix(".new"),
            external=[],
            upstream={"base_path": f"/{name}"},
            errors={"codes": {404: f"CODE_OF_{name.upper()}"}, "overrides": []},
        )
        rules.with_suffix(".new").replace(rules)

    seen: set[str] = set()
    stop = Event()

    def ask() -> int:
        count = 0
        while not stop.is_set():
            content = json.loads(request(proxy.url, "/api/2.0/mlflow/x").body)
            code = content["error_code"]
            assert f"/{code[-1].lower()}/api/2.0/mlflow/x" in content["message"], content
            seen.add(code)
            count += 1
        return count

    def reloaded(times: int) -> bool:
        return proxy.text().count("the rules were read again") == times

    put("a")
    with lab.proxy(scripted.url, rules, log=tmp_path / "log") as proxy:
        proxy.wait("/livez")
        with ThreadPoolExecutor(4) as pool:
            asking = [pool.submit(ask) for _ in range(4)]
            for count, name in enumerate("babab", 1):
                time.sleep(0.3)
                put(name)
                eventually(partial(reloaded, count))
            time.sleep(0.3)
            stop.set()
            counts = [future.result() for future in asking]
        assert all(counts)
        assert seen == {"CODE_OF_A", "CODE_OF_B"}
        assert "Traceback" not in proxy.text()
