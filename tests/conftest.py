"""Settings for all tests."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.internal.conjecture import providers
from mitmproxy import certs
from support.turns import turn

# Servers must run as in production: with this variable, their log lines would arrive earlier.
os.environ.pop("PYTHONUNBUFFERED", None)

# Hypothesis also tries constants from all our loaded modules: an edit anywhere, or another worker,
# would change the examples of a seed (see test_repeatable.py).
if hasattr(providers, "_get_local_constants"):
    providers._get_local_constants = lambda: providers._local_constants

# Quick, and the same in every run; `--hypothesis-profile long` tries new examples.
settings.register_profile(
    "quick",
    max_examples=300,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "long",
    parent=settings.get_profile("quick"),
    max_examples=20_000,
    derandomize=False,
    phases=[Phase.reuse, Phase.generate, Phase.shrink],
)
settings.load_profile("quick")

LONG = [
    *("test_soak", "test_hostile_targets", "test_scripts", "test_artifact_switch"),
    *("test_time_limits", "test_real_client", "test_client_faults", "test_reload", "test_drain"),
    *("test_large_artifacts", "test_secrets", "test_pods", "test_workers", "test_mlflow_ui"),
    "test_systemd_runs",
]
"""Files that take long, the longest first."""


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Use three workers for the whole suite, and none if the command line names files."""
    # On two cores: many tests wait. More workers would use up the time that some allow the proxy.
    return 3 if config.args_source is pytest.Config.ArgsSource.TESTPATHS else 0


def pytest_make_parametrize_id(val: object) -> str | None:
    """Keep gzip bytes out of test IDs: they contain the time, and all workers need the same IDs."""
    return "gzip" if isinstance(val, bytes) and val.startswith(b"\x1f\x8b") else None


def pytest_configure_node() -> None:
    """Make mitmproxy's certificates before workers start: two first starts might collide."""
    certs.CertStore.from_store(Path("~/.mitmproxy").expanduser(), "mitmproxy", 2048)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest files first, so that both workers finish at about the same time."""
    order = {name: number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Run a test that is marked `alone` by itself."""
    if not hasattr(item.config, "workerinput"):
        return (yield)
    # A worker's folder is inside the folder of the whole run.
    folder = Path(item.config.getoption("basetemp")).parent
    with turn(folder, alone=item.get_closest_marker("alone") is not None):
        return (yield)
