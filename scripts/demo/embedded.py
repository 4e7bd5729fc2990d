"""The embedded registry with the proxy in front of it: for a first look, and for the demo.

python scripts/demo/embedded.py [--listen HOST:PORT] [--demo] [--web] [-- mitmdump options]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import lab
from lab import markdown

from addon.cli import addresses

DATA = lab.DATA / "registry"
"""Experiments and models of the embedded registry; they are kept for the next start."""


def main() -> int:
    """Start everything, wait for Ctrl-C (or run the demo), stop everything."""
    parser = argparse.ArgumentParser(prog="scripts/run.sh", description=__doc__)
    parser.add_argument("--listen", type=addresses.listen, default="127.0.0.1:8080")
    parser.add_argument("--demo", action="store_true")
    parser.add_argument("--web", action="store_true")
    parser.add_argument("options", nargs="*")
    arguments = parser.parse_args()
    if not arguments.demo and (problem := addresses.problem(*arguments.listen)):
        say(f"run: {problem}")
        return 1
    for number in _SIGNALS:
        signal.signal(number, _stop)
    # The demo starts with an empty registry and leaves nothing behind.
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as servers:
        try:
            return _run(arguments, Path(scratch) if arguments.demo else DATA, servers)
        except _StoppedError:
            say("\nStopping ...")
            return 130 if arguments.demo else 0
        except (lab.StartError, subprocess.CalledProcessError) as error:
            say(f"Could not start: {error}")
            return 1


def _run(arguments: argparse.Namespace, data: Path, servers: ExitStack) -> int:
    python = lab.mlflow(3)
    say("Starting the registry (MLflow on SQLite) ...")
    registry = servers.enter_context(lab.registry(data, ajax_only=True))
    registry.wait("/health", progress=True)
    rules = lab.write_rules(data / "rules.yaml", external=["127.0.0.1"])
    say("Starting the proxy ...")
    host, port = arguments.listen
    proxy = servers.enter_context(
        lab.proxy(
            registry.url,
            rules,
            log=data / "proxy.log",
            host=host or "127.0.0.1",
            port=None if arguments.demo else port,
            web=arguments.web,
            options=[*_request_lines(arguments), *arguments.options],
        )
    )
    proxy.wait("/livez")
    if arguments.demo:
        return demo(python, registry.url, proxy.url)
    explain(python, registry.url, proxy)
    while True:
        time.sleep(0.5)
        for server in (registry, proxy):
            if server.process.poll() is not None:
                raise lab.StartError(f"{server.command[0]} ended by itself:\n{server.tail()}")


def _request_lines(arguments: argparse.Namespace) -> list[str]:
    """Return the option that shows a line for each request on this terminal."""
    own = any("mlflow_access_log" in option for option in arguments.options)
    if own or arguments.demo or arguments.web or not sys.stdout.isatty():
        return []
    return ["--set", f"mlflow_access_log={os.ttyname(sys.stdout.fileno())}"]


class _StoppedError(Exception):
    """A signal has asked us to stop."""


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _stop(*_: object) -> None:
    # A second Ctrl-C must not stop the cleanup.
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise _StoppedError


def explain(python: Path, registry: str, server: lab.Server) -> None:
    """Show the URLs, and an example to try."""
    proxy = server.url
    web = re.search(r"Web server listening at (\S+)", server.text())
    inspect = f"\n  Inspect        {web[1]}   (mitmweb)" if web else ""
    say(f"""
  Tracking URI   {proxy}   (also {proxy}/mlflow and {proxy}/api/mlflow){inspect}
  Registry       {registry}   serves only /ajax-api/, like an external registry
  Web UI         {proxy}/
  Health         {proxy}/health/mlflow
  Data           {DATA}
""")
    say(f"""Paste this into another terminal:

MLFLOW_TRACKING_URI={proxy} {python} - <<'END'
import mlflow
with mlflow.start_run():
    mlflow.log_metric("loss", 0.1)
    mlflow.log_text("hello", "notes/hello.txt")
    print(mlflow.artifacts.load_text(mlflow.get_artifact_uri("notes/hello.txt")))
END

Press Ctrl-C to stop.""")


def demo(python: Path, registry: str, proxy: str) -> int:
    """Run the demo twice and print a table; return 0 if all steps worked through the proxy."""
    say("Running a real MLflow client, directly and through the proxy ...")
    direct, proxied = (_story(python, url) for url in (registry, proxy))
    names = proxied | direct
    rows = [(name, _cell(direct.get(name)), _cell(proxied.get(name))) for name in names]
    print(markdown.table(("step", "direct", "through the proxy"), rows))
    good = bool(proxied) and all(step["ok"] for step in proxied.values())
    say("Everything works through the proxy." if good else "Something failed through the proxy.")
    return 0 if good else 1


def _story(python: Path, url: str) -> dict[str, dict[str, object]]:
    script = lab.ROOT / "scripts" / "demo" / "client.py"
    with (lab.DATA / "demo.log").open("a") as log:
        run = subprocess.run(
            [python, script, url], stdout=subprocess.PIPE, stderr=log, timeout=600, check=False
        )
    steps = [json.loads(line) for line in run.stdout.splitlines() if line.startswith(b"{")]
    return {step["step"]: step for step in steps}


def _cell(step: dict[str, object] | None) -> str:
    if step is None:
        return "not reached"
    detail = str(step["detail"])
    if step["ok"]:
        return f"ok: {detail}"
    if "<" in detail:
        return "fails: the client prints an HTML page"
    return f"fails: {detail[:70]}"


def say(text: str) -> None:
    """Print a message to stderr; stdout is for the table."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
