"""Measures a job of a real MLflow client: direct, through nginx, and through the proxy."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import lab
from bench import servers
from bench.results import Row, ratios
from bench.session import Session, alternate

JOB = "MLflow job (200 metrics, 20 artifacts, a model): wall time"


def measure(session: Session) -> Iterator[Row]:
    """Yield the wall time of the job."""
    folder = session.folder / "mlflow"
    with lab.registry(folder / "registry", ajax_only=False) as registry:
        registry.wait("/health")
        with (
            servers.nginx(folder / "nginx", registry.url) as nginx,
            servers.proxy(folder / "proxy", registry.url) as proxy,
        ):
            ways = {
                "proxy": partial(job, proxy.url),
                "direct": partial(job, registry.url),
                "nginx": partial(job, nginx.url),
            }
            for warm_up in ways.values():
                warm_up()
            got = alternate(session.pairs, ways)
    yield Row(JOB, "direct", "x", ratios(got["proxy"], got["direct"]), "<=", 1.05, raw=got)
    name = "nginx with the same rewrite"
    yield Row(JOB, name, "x", ratios(got["proxy"], got["nginx"]), "<=", 1.05, raw=got)


def job(url: str) -> float:
    """Return the seconds of a job, measured by the client itself.

    Raises:
        RuntimeError: the client has failed.
    """
    client = Path(__file__).with_name("mlflow_job_client.py")
    run = subprocess.run([lab.mlflow(3), client, url], capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(f"the MLflow job failed:\n{run.stdout}{run.stderr}")
    return float(run.stdout.split()[-1])
