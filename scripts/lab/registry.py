"""Registries: MLflow's own server, and nginx in front of it as an external one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from install import programs

from lab.nginx import STREAMING, nginx
from lab.server import Server, free_port

PLUGIN = Path(__file__).with_name("ajax_only")
"""The plug-in of MLflow that answers /api/ with 404."""

EXTERNAL = f"""
  upstream mlflow {{ server UPSTREAM; keepalive 16; }}
  server {{
    listen 127.0.0.1:PORT;{STREAMING}    location /api/ {{ return 404; }}
    location / {{ proxy_pass http://mlflow; }}
  }}
"""


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
    python = programs.mlflow(3)
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
        settings["PYTHONPATH"] = str(PLUGIN)
    return Server(command, url=f"http://127.0.0.1:{port}", log=data / "registry.log", env=settings)


def external(folder: Path, upstream: str, *, port: int | None = None) -> Server:
    """Start nginx as an external registry: MLflow behind it, and an HTML 404 for /api/."""
    return nginx(folder, EXTERNAL.replace("UPSTREAM", upstream.removeprefix("http://")), port=port)
