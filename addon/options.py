"""The addon's options of mitmproxy, which lists them in `--options`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from mitmproxy.addonmanager import Loader

from .mitmweb import flow_ring
from .rules.rules_file import DEFAULT_PATH

PREFIX = "mlflow_"
"""The prefix of all options."""

_OPTIONS: list[tuple[str, type, object, str]] = [
    ("mlflow_rules", str, str(DEFAULT_PATH), "Path of the rules file of the MLflow proxy."),
    (
        "mlflow_serve_artifacts",
        str,
        "",
        "Serve artifacts (true or false). Overrides the environment variable "
        "MLFLOW_SERVE_ARTIFACTS and the rules; empty: they decide.",
    ),
    (
        "mlflow_keep_flows",
        int,
        flow_ring.DEFAULT,
        "Flows that mitmweb keeps; the oldest without a mark are dropped. 0 keeps all.",
    ),
    (
        "mlflow_lean",
        bool,
        True,
        "Leave out addons of mitmproxy that are not used, and call the others without a task for "
        "each; only in mitmdump.",
    ),
    (
        "mlflow_access_log",
        str,
        "",
        "File to which a line of JSON is appended for each request; - is standard output.",
    ),
    (
        "mlflow_metrics",
        str,
        "",
        "PORT or HOST:PORT of the page with metrics for Prometheus, /metrics; a port alone is on "
        "127.0.0.1.",
    ),
]
"""Name, type, default and help."""


def add(loader: Loader) -> None:
    """Register the options with mitmproxy."""
    for name, kind, default, text in _OPTIONS:
        loader.add_option(name, kind, default, text)


def misspelled(unknown: Iterable[str], known: Iterable[str]) -> list[str]:
    """Return a problem for each unknown option that looks like one of ours.

    mitmproxy keeps unknown options, because a script may add them later.

    Args:
        unknown: names that mitmproxy keeps; ours may be among them.
        known: names of all options that exist.
    """
    ours = [name for name in known if name.startswith(PREFIX)]
    problems = []
    for name in unknown:
        if name.lower().replace("-", "_").startswith(PREFIX) and name not in ours:
            close = difflib.get_close_matches(name.lower().replace("-", "_"), ours, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(ours)}"
            problems.append(f"{name}: no such option; {hint}")
    return problems
