"""The embedded registry with the proxy in front of it: for a first look, and for the demo.

python scripts/embedded.py [--listen HOST:PORT] [--demo] [--web] [-- mitmdump options]
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import stack

DATA = stack.DATA / "registry"


def main() -> int:
    """Start everything, wait for Ctrl-C (or run the demo), stop everything."""
    parser = argparse.ArgumentParser(prog="scripts/run.sh", description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:8080")
    parser.add_argument("--demo", action="store_true")
    parser.add_argument("--web", action="store_true")
    parser.add_argument("options", nargs="*")
    arguments = parser.parse_args()
    host, _, port = arguments.listen.rpartition(":")

    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stopped.set())

    with _Servers() as servers:
        try:
            python = stack.mlflow(3)
            say("Starting the registry (MLflow on SQLite) ...")
            registry = servers.add(stack.registry(DATA, ajax_only=True))
            registry.wait("/health", progress=True)
            rules = stack.write_rules(DATA / "rules.yaml", external=["127.0.0.1"])
            say("Starting the proxy ...")
            front = servers.add(
                stack.proxy(
                    registry.url,
                    rules,
                    log=DATA / "proxy.log",
                    host=host or "127.0.0.1",
                    port=None if arguments.demo else int(port),
                    web=arguments.web,
                    options=arguments.options,
                )
            )
            front.wait("/livez")
        except (stack.StackError, subprocess.CalledProcessError) as error:
            say(f"Could not start: {error}")
            return 1
        if stopped.is_set():
            return 130
        if arguments.demo:
            return demo(python, registry.url, front.url)
        explain(python, registry.url, front.url, arguments.web)
        while not stopped.wait(0.5):
            if (
                ended := next((s for s in servers if s.process.poll() is not None), None)
            ) is not None:
                say(f"{ended.command[0]} ended by itself:\n{ended.tail()}")
                return 1
        say("\nStopping ...")
    return 0


class _Servers(list[stack.Server]):
    """Stopped in the reverse order of their start, whatever happens."""

    def add(self, server: stack.Server) -> stack.Server:
        self.append(server)
        return server

    def __enter__(self) -> _Servers:
        return self

    def __exit__(self, *_: object) -> None:
        for server in reversed(self):
            server.stop()


def explain(python: Path, registry: str, proxy: str, web: bool) -> None:
    """Say what is there and what to try."""
    say(f"""
  Tracking URI   {proxy}   (also {proxy}/mlflow and {proxy}/api/mlflow)
  Registry       {registry}   serves only /ajax-api/, like an external registry
  Web UI         {proxy}/
  Health         {proxy}/health/mlflow
  Data           {DATA}
""")
    if web:
        say(f"  mitmweb prints its address and password in {DATA / 'proxy.log'}\n")
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
    """Tell the story twice and print it as a table; 0 if all went well through the proxy."""
    say("Running a real MLflow client, directly and through the proxy ...")
    direct, proxied = (_story(python, url) for url in (registry, proxy))
    rows = [("step", "direct", "through the proxy")]
    for name in proxied | direct:
        rows.append((name, _cell(direct.get(name)), _cell(proxied.get(name))))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    rows.insert(1, tuple("-" * width for width in widths))  # type: ignore[arg-type]
    for row in rows:
        print(
            "| "
            + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            + " |"
        )
    good = bool(proxied) and all(step["ok"] for step in proxied.values())
    say("Everything works through the proxy." if good else "Something failed through the proxy.")
    return 0 if good else 1


def _story(python: Path, url: str) -> dict[str, dict[str, object]]:
    script = stack.ROOT / "scripts" / "demo_client.py"
    with (DATA / "demo.log").open("a") as log:
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
    """Tell the person at the terminal; stdout is for the table."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
