"""HAProxy, as a load balancer in front of proxies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from install import programs

from addon.workers import haproxy_config
from lab.server import Server, free_port


def haproxy(folder: Path, config: str) -> Server:
    """Start HAProxy with a configuration after common time limits; PORT is replaced."""
    port = free_port()
    limits = (
        "global\n  expose-experimental-directives\ndefaults\n  mode http\n"
        "  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  timeout check 10s\n"
    )
    return _haproxy(folder, limits + config.replace("PORT", str(port)), port)


def balancer(folder: Path, urls: Sequence[str]) -> Server:
    """Start HAProxy in front of proxies, with the configuration that scripts/run.sh uses.

    Args:
        folder: for its configuration and log.
        urls: URLs of the proxies.
    """
    port = free_port()
    addresses = [url.removeprefix("http://") for url in urls]
    return _haproxy(folder, haproxy_config.config(f"127.0.0.1:{port}", addresses), port)


def _haproxy(folder: Path, config: str, port: int) -> Server:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "haproxy.cfg").write_text(config)
    command: list[str | Path] = [programs.binary("haproxy"), "-db", "-f", folder / "haproxy.cfg"]
    return Server(command, url=f"http://127.0.0.1:{port}", log=folder / "haproxy.log")
