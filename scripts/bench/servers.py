"""The compared servers, and the servers behind them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import lab
import yaml

API = "/api/2.0/mlflow/runs/get?run_id=0123456789abcdef0123456789abcdef"
"""A small request: nginx answers like MLflow, with about 250 bytes."""
UPLOADS = "/api/2.0/mlflow/runs/log-batch"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts/"
"""Uploads to these two paths are read to the end, then answered like the small request."""

ANSWER = (
    '{"run": {"info": {"run_id": "0123456789abcdef0123456789abcdef", "experiment_id": "1", '
    '"status": "RUNNING", "start_time": 1700000000000, "artifact_uri": '
    '"mlflow-artifacts:/1/0123456789abcdef0123456789abcdef/artifacts", '
    '"lifecycle_stage": "active"}}}'
)
# nginx alone answers without reading a body. To read it, nginx passes the request to itself.
_REGISTRY = """
  keepalive_requests 1000000;
  client_body_buffer_size 2m;
  upstream itself { server 127.0.0.1:PORT; keepalive 64; }
  server {
    listen 127.0.0.1:PORT;
    default_type application/json;
    proxy_http_version 1.1;
    proxy_method GET;
    proxy_pass_request_body off;
    proxy_set_header Connection "";
    proxy_set_header Content-Length "";
    location / { return 200 'ANSWER'; }
    UPLOADS
  }
"""
_READ = "location {} {{ proxy_pass http://itself/; }}\n"
_NGINX = f"""
  keepalive_requests 1000000;
  upstream registry {{ server UPSTREAM; keepalive 64; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:PORT;{lab.STREAMING}
    location / {{ proxy_pass http://registry; }}
    location /api/ {{ rewrite ^/api/(.*) /ajax-api/$1 break; proxy_pass http://registry; }}
  }}
"""


def small_registry(folder: Path) -> lab.Server:
    """Start nginx as a registry that answers at once."""
    uploads = "".join(
        _READ.format(path.replace("/api/", prefix))
        for path in (UPLOADS, ARTIFACTS)
        for prefix in ("/api/", "/ajax-api/")
    )
    config = _REGISTRY.replace("ANSWER", ANSWER).replace("UPLOADS", uploads)
    return lab.nginx(folder, config).wait()


def nginx(folder: Path, upstream: str) -> lab.Server:
    """Start nginx in place of the proxy: the same rewrite, and no buffering."""
    config = _NGINX.replace("UPSTREAM", upstream.removeprefix("http://"))
    return lab.nginx(folder, config).wait_for_port()


def proxy(
    folder: Path,
    upstream: str,
    *,
    options: Sequence[str | Path] = (),
    wait: bool = True,
) -> lab.Server:
    """Start the proxy with the shipped rules."""
    rules = write_rules(folder / "rules.yaml")
    server = lab.proxy(upstream, rules, log=folder / "log", options=("-q", *options))
    return server.wait("/livez") if wait else server


def write_rules(path: Path, more: int = 0, **changes: object) -> Path:
    """Write the rules, after some others that are tried and do not match."""
    shipped = lab.write_rules(path, external=["127.0.0.1"], **changes)
    if not more:
        return shipped
    rewrites = [
        {"name": f"old-{number}", "match": rf"^/old-{number}/(\d+)/", "replace": r"/new/\1/"}
        for number in range(more)
    ]
    rewrites += yaml.safe_load(shipped.read_text(encoding="utf-8"))["rewrites"]
    return lab.write_rules(path, external=["127.0.0.1"], rewrites=rewrites, **changes)


def bare(
    folder: Path, upstream: str, *, options: Sequence[str | Path] = (), wait: bool = True
) -> lab.Server:
    """Start mitmdump without the addon."""
    port = lab.free_port()
    command: list[str | Path] = [Path(sys.executable).parent / "mitmdump", "-q"]
    command += ["--mode", f"reverse:{upstream}"]
    command += ["--listen-host", "127.0.0.1", "--listen-port", str(port), *options]
    server = lab.Server(command, url=f"http://127.0.0.1:{port}", log=folder / "log")
    return server.wait() if wait else server


def httpx_proxy(folder: Path, upstream: str) -> lab.Server:
    """Start the proxy of httpx_proxy.py in its own environment."""
    port = lab.free_port()
    command: list[str | Path] = [lab.DATA / "fastapi" / "bin" / "python", "-m", "uvicorn"]
    command += ["--app-dir", Path(__file__).parent, "--host", "127.0.0.1", "--port", str(port)]
    command += ["--no-access-log", "--log-level", "warning", "httpx_proxy:app"]
    url = f"http://127.0.0.1:{port}"
    return lab.Server(command, url=url, log=folder / "log", env={"UPSTREAM": upstream}).wait()
