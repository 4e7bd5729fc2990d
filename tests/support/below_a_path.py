"""nginx that serves MLflow's /ajax-api/ and pages below a path, and nothing elsewhere."""

from pathlib import Path

import lab

_SERVER = f"""
  upstream mlflow {{ server UPSTREAM; keepalive 16; }}
  server {{
    listen 127.0.0.1:PORT;{lab.STREAMING}
    location / {{ return 404; }}
    location BELOW/ {{ proxy_pass http://mlflow/; }}
    location BELOW/api/ {{ return 404; }}
    MORE
  }}
"""


def start(folder: Path, mlflow: lab.Server, path: str, *more: str) -> lab.Server:
    """Start nginx.

    Args:
        folder: for its files.
        mlflow: the server behind it.
        path: the path below which it is served, without a final slash.
        more: more locations of nginx's configuration.
    """
    config = _SERVER.replace("UPSTREAM", mlflow.url.removeprefix("http://"))
    return lab.nginx(folder, config.replace("BELOW", path).replace("MORE", "\n".join(more)))
