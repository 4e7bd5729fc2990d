"""Starts and stops real servers on free loopback ports, for the embedded registry and the tests."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import yaml
from workers.haproxy_config import config as haproxy_config

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / ".run"
MAIN = ROOT / "addon" / "main.py"


class StackError(RuntimeError):
    """A server did not start; the message has the end of its log."""


_kept: list[socket.socket] = []


def free_port() -> int:
    """Return a free TCP port of 127.0.0.1 that the system gives to no other program."""
    kept = socket.socket()
    # With this option a server that sets it as well can still listen there.
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    kept.bind(("127.0.0.1", 0))
    _kept.append(kept)
    return int(kept.getsockname()[1])


class Server:
    """A server process with its children, in its own session.

    So Ctrl-C in the terminal does not reach it, and the starting program stops it in order.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        url: str,
        log: Path,
        env: Mapping[str, str] = {},
        stop_signal: int = signal.SIGTERM,
    ) -> None:
        self.url = url
        self.stop_signal = stop_signal
        self.log = log
        self.command = [str(part) for part in command]
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | dict(env),
                start_new_session=True,
            )

    def wait(self, path: str = "/", *, seconds: float = 60, progress: bool = False) -> Self:
        """Wait until it answers HTTP on a path, with any status.

        Raises:
            StackError: it has ended, or the time is over.
        """
        return self._wait(lambda: self._answers(path), seconds, progress)

    def wait_for_port(self, *, seconds: float = 60) -> Self:
        """Wait until it accepts connections, for servers with an untrusted certificate."""
        return self._wait(self._accepts, seconds, False)

    def _wait(self, is_up: Callable[[], bool], seconds: float, progress: bool) -> Self:
        dots = progress and sys.stderr.isatty()
        end = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < end:
            if is_up():
                if dots:
                    print(file=sys.stderr)
                return self
            if dots:
                print(".", end="", file=sys.stderr, flush=True)
            time.sleep(0.1 if dots else 0.02)
        code = self.stop()
        raise StackError(f"{self.command[0]} did not start (exit code {code}):\n{self.tail()}")

    def _answers(self, path: str) -> bool:
        try:
            with urllib.request.urlopen(self.url + path, timeout=2):  # noqa: S310
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False

    def _accepts(self) -> bool:
        host, _, port = self.url.rpartition("/")[2].partition(":")
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            return False
        return True

    def stop(self, *, seconds: float = 10) -> int:
        """Stop it and all its children; return its exit code."""
        self._signal_group(self.stop_signal)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        # Children may outlive it; the group may also be gone already.
        self._signal_group(signal.SIGKILL)
        return self.process.wait()

    def _signal_group(self, sig: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, sig)

    def tail(self, lines: int = 30) -> str:
        """Return the end of its log."""
        return "\n".join(self.text().splitlines()[-lines:])

    def text(self) -> str:
        """Return its log."""
        if not self.log.is_file():
            return ""  # Reading /dev/full would not end.
        return self.log.read_text(encoding="utf-8", errors="replace")

    def memory(self) -> int:
        """Return the peak resident memory of the process itself, in bytes (Linux)."""
        return self._memory("VmHWM")

    def memory_now(self) -> int:
        """Return its resident memory, in bytes."""
        return self._memory("VmRSS")

    def _memory(self, name: str) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(status.partition(f"{name}:")[2].split()[0]) * 1024

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def installed(script: str, name: str) -> Path:
    """Install something by a script at the first use, under a lock; return its path."""
    DATA.mkdir(exist_ok=True)
    with (DATA / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = subprocess.run(
            [ROOT / "scripts" / "install" / script, name], check=True, stdout=subprocess.PIPE
        )
    return Path(made.stdout.decode().strip())


def mlflow(version: int) -> Path:
    """Return the Python of an environment with MLflow 3 or 2."""
    return installed("mlflow.sh", str(version)) / "bin" / "python"


def wheel(folder: Path) -> Path:
    """Build the wheel of this project into a folder; return its path."""
    return installed("wheel.sh", str(folder))


def registry(
    data: Path,
    *,
    ajax_only: bool,
    options: Sequence[str] = (),
    env: Mapping[str, str] = {},
    port: int | None = None,
) -> Server:
    """Start an MLflow server on SQLite and local artifacts.

    Args:
        data: folder for database, artifacts and log.
        ajax_only: answer /api/ with an HTML 404, like the external registry.
        options: further options of `mlflow server`.
        env: environment variables to set.
        port: 127.0.0.1 port; a free one by default.
    """
    python = mlflow(3)
    port = port or free_port()
    data.mkdir(parents=True, exist_ok=True)
    command: list[str | Path] = [python, "-m", "mlflow", "server"]
    if "--artifacts-only" not in options:
        command += ["--backend-store-uri", f"sqlite:///{data / 'mlflow.db'}"]
    command += ["--artifacts-destination", data / "artifacts"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1", *options]
    settings = {
        # Background jobs of the GenAI features: we do not need their processes.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "PYTHONWARNINGS": "ignore",
        **env,
    }
    if ajax_only:
        command += ["--app-name", "ajax-only"]
        settings["PYTHONPATH"] = str(ROOT / "scripts" / "lab" / "ajax_only")
    return Server(command, url=f"http://127.0.0.1:{port}", log=data / "registry.log", env=settings)


def write_rules(path: Path, *, external: Sequence[str], **changes: Any) -> Path:
    """Write a copy of rules.yaml with other external hosts and changed sections."""
    rules = yaml.safe_load((ROOT / "rules.yaml").read_text(encoding="utf-8"))
    # A fixed dialect, so that tests do not wait for its detection unless they want it.
    rules["upstream"].update(external_hosts=[*external], dialect="standard")
    for section, values in changes.items():
        if isinstance(values, dict):
            rules[section].update(values)
        else:
            rules[section] = values
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(rules, sort_keys=False), encoding="utf-8")
    return path


def proxy_command(
    upstream: str,
    rules: Path,
    *,
    port: int,
    host: str = "127.0.0.1",
    web: bool = False,
    before: Sequence[str | Path] = (),
    options: Sequence[str | Path] = (),
) -> list[str | Path]:
    """Return the command line of mitmdump (or mitmweb) with the addon in reverse mode.

    `before` comes before the addon, for scripts to load first; `options` come after it.
    """
    program = "mitmweb" if web else "mitmdump"
    command: list[str | Path] = [Path(sys.executable).parent / program]
    command += ["--mode", f"reverse:{upstream}", "--listen-host", host, "--listen-port", str(port)]
    return [*command, *before, "-s", MAIN, "--set", f"mlflow_rules={rules}", *options]


def proxy(
    upstream: str,
    rules: Path,
    *,
    log: Path,
    host: str = "127.0.0.1",
    port: int | None = None,
    web: bool = False,
    before: Sequence[str | Path] = (),
    options: Sequence[str | Path] = (),
    env: Mapping[str, str] = {},
) -> Server:
    """Start the command of `proxy_command`."""
    port = port or free_port()
    command = proxy_command(
        upstream, rules, port=port, host=host, web=web, before=before, options=options
    )
    # After SIGTERM it would wait for load balancers and transfers.
    url = f"http://{host}:{port}"
    return Server(command, url=url, log=log, env=env, stop_signal=signal.SIGINT)


def binary(name: str) -> Path:
    """Return the path of a program that install/server.sh knows, fetched at the first use."""
    return installed("server.sh", name)


def tool(name: str) -> Path:
    """Return the path of a program that install/tool.sh knows, installed at the first use."""
    return installed("tool.sh", name)


def nginx(folder: Path, servers: str, *, top: str = "", port: int | None = None) -> Server:
    """Start nginx.

    Args:
        folder: for its configuration, logs and temporary files.
        servers: text for the http block; PORT is replaced.
        top: text before the http block.
        port: 127.0.0.1 port; a free one by default.
    """
    port = port or free_port()
    folder.mkdir(parents=True, exist_ok=True)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "\n".join(f"  {kind}_temp_path {folder}/{kind};" for kind in kinds)
    # As root, its workers would change to a user who cannot write here.
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; {user}\n"
        f"{top}\nevents {{ worker_connections 4096; }}\n"
        f"http {{\n  access_log off; client_max_body_size 0;\n"
        f"{temporary}\n{servers.replace('PORT', str(port))}\n}}\n"
    )
    command: list[str | Path] = [binary("nginx"), "-c", folder / "nginx.conf", "-p", folder]
    return Server(command, url=f"http://127.0.0.1:{port}", log=folder / "nginx.log")


# nginx that keeps connections to an upstream and does not buffer bodies.
STREAMING = """
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_buffering off;
    proxy_request_buffering off;
"""
EXTERNAL = f"""
  upstream mlflow {{ server UPSTREAM; keepalive 16; }}
  server {{
    listen 127.0.0.1:PORT;{STREAMING}    location /api/ {{ return 404; }}
    location / {{ proxy_pass http://mlflow; }}
  }}
"""


def external(folder: Path, upstream: str, *, port: int | None = None) -> Server:
    """Start nginx as an external registry: MLflow behind it, and an HTML 404 for /api/."""
    return nginx(folder, EXTERNAL.replace("UPSTREAM", upstream.removeprefix("http://")), port=port)


def haproxy(folder: Path, config: str) -> Server:
    """Start HAProxy with a configuration after common time limits; PORT is replaced."""
    port = free_port()
    limits = (
        "global\n  expose-experimental-directives\ndefaults\n  mode http\n"
        "  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  timeout check 10s\n"
    )
    return _haproxy(folder, limits + config.replace("PORT", str(port)), port)


def prometheus(folder: Path, config: str) -> Server:
    """Start Prometheus, with its data in a folder."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prometheus.yml").write_text(config)
    command: list[str | Path] = [binary("prometheus"), f"--config.file={folder / 'prometheus.yml'}"]
    command += [f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}"]
    return Server(command, url=f"http://127.0.0.1:{port}", log=folder / "prometheus.log")


def balancer(folder: Path, urls: Sequence[str]) -> Server:
    """Start HAProxy in front of proxies, with the configuration that scripts/run.sh uses.

    Args:
        folder: for its configuration and log.
        urls: URLs of the proxies.
    """
    port = free_port()
    addresses = [url.removeprefix("http://") for url in urls]
    return _haproxy(folder, haproxy_config(f"127.0.0.1:{port}", addresses), port)


def _haproxy(folder: Path, config: str, port: int) -> Server:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "haproxy.cfg").write_text(config)
    command: list[str | Path] = [binary("haproxy"), "-db", "-f", folder / "haproxy.cfg"]
    return Server(command, url=f"http://127.0.0.1:{port}", log=folder / "haproxy.log")
