"""Fills other addresses into HAProxy's configuration."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from .shipped import DEPLOY

SHIPPED = DEPLOY / "haproxy" / "haproxy.cfg"


def config(listen: str, workers: Sequence[str], *, socket: Path | None = None) -> str:
    """Return the configuration with other addresses.

    Args:
        listen: the address for clients, "0.0.0.0:8080".
        workers: addresses of workers, "127.0.0.1:8081"; they are named worker1, worker2, ...
        socket: for HAProxy's commands; none by default.
    """
    text = SHIPPED.read_text(encoding="utf-8")
    servers = "".join(f"  server worker{i} {at}\n" for i, at in enumerate(workers, 1))
    for pattern, lines in ((r"  bind .+\n", f"  bind {listen}\n"), (r"(  server .+\n)+", servers)):
        text, times = re.subn(rf"(?m)^{pattern}", lines, text)
        if times != 1:
            raise ValueError(f"{SHIPPED}: {times} places for {lines.strip()!r}; expected one")
    if socket is not None:
        text = text.replace("global\n", f"global\n  stats socket {socket} mode 600 level admin\n")
    return text
