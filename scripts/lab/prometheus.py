"""Prometheus, for the alerts."""

from __future__ import annotations

from pathlib import Path

from install import programs

from lab.server import Server, free_port


def prometheus(folder: Path, config: str) -> Server:
    """Start Prometheus, with its data in a folder."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prometheus.yml").write_text(config)
    command: list[str | Path] = [
        programs.binary("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
    ]
    command += [f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}"]
    return Server(command, url=f"http://127.0.0.1:{port}", log=folder / "prometheus.log")
