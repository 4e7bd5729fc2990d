"""Proxies in front of an upstream, for as long as a test or a module needs them."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lab


@contextmanager
def running_proxy(
    folder: Path,
    url: str,
    *,
    external: tuple[str, ...] = ("127.0.0.1",),
    before: tuple[str, ...] = (),
    options: tuple[str, ...] = (),
    env: Mapping[str, str] = {},
    port: int | None = None,
    **changes: Any,
) -> Iterator[lab.Server]:
    """Run a mitmdump with the addon; fail if its log has a traceback.

    Args:
        folder: for its rules and its log.
        url: the upstream's URL.
        external: hosts that count as external.
        before: options of mitmdump before the addon, such as scripts.
        options: further options.
        env: environment variables to set.
        port: 127.0.0.1 port; a free one by default.
        changes: sections of the rules to change.
    """
    rules = lab.write_rules(folder / "rules.yaml", external=external, **changes)
    with lab.proxy(
        url, rules, log=folder / "log", before=before, options=options, env=env, port=port
    ) as server:
        yield server.wait("/livez")
        # Read the log before the end: Python 3.11 logs connections cut by a shutdown as errors.
        text = server.text()
        assert "Traceback" not in text, text
        server.stop_signal = signal.SIGKILL  # A graceful stop is not needed.
