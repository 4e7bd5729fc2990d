"""nginx as a registry that has no experiments and stores files."""

from pathlib import Path

import lab

_SERVER = """
  server {
    listen 127.0.0.1:PORT;
    default_type application/json;
    location /ajax-api/2.0/mlflow/ { return 200 '{"experiments": []}'; }
    location /ajax-api/2.0/mlflow-artifacts/ {
      root FOLDER;
      dav_methods PUT;
      create_full_put_path on;
    }
  }
"""


def start(folder: Path) -> lab.Server:
    """Start nginx with its files in a folder."""
    return lab.nginx(folder, _SERVER.replace("FOLDER", str(folder)))
