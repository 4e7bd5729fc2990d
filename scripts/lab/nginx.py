"""nginx, as a registry or in its place."""

from __future__ import annotations

import os
from pathlib import Path

from install import programs

from lab.server import Server, free_port

# nginx that keeps connections to an upstream and does not buffer bodies.
STREAMING = """
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_buffering off;
    proxy_request_buffering off;
"""


def nginx(folder: Path, servers: str, *, top: str = "", port: int | None = None) -> Server:
    """Start nginx.

    Args:
        folder: for its configuration, logs and temporary files.
        servers: text for the http block; PORT is replaced.
        top: text before the http block.
        port: 127.0.0.1 port; a free one by default.
    """
    port = port or free_port()
    folder.mkdir(parents=True, exist_ok=True)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "\n".join(f"  {kind}_temp_path {folder}/{kind};" for kind in kinds)
    # As root, its workers would change to a user who cannot write here.
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; {user}\n"
        f"{top}\nevents {{ worker_connections 4096; }}\n"
        f"http {{\n  access_log off; client_max_body_size 0;\n"
        f"{temporary}\n{servers.replace('PORT', str(port))}\n}}\n"
    )
    command: list[str | Path] = [programs.binary("nginx"), "-p", folder]
    command += ["-c", folder / "nginx.conf"]
    return Server(command, url=f"http://127.0.0.1:{port}", log=folder / "nginx.log")
