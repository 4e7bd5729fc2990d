"""The proxy itself."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from install.programs import ROOT

from lab.server import Server, free_port

MAIN = ROOT / "addon" / "main.py"


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
