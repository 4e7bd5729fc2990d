"""Builds and runs a Dockerfile without a container engine: needs Linux and root.

A stage is a folder that its commands see as their root. In place of the base image's system
they see that of this machine, read-only, and under /usr/local the Python that runs the tests.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

BASE = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    # The base image's ld.so.conf names it.
    "LD_LIBRARY_PATH": "/usr/local/lib",
}
"""What the base image has in its environment."""
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64")
_SETTINGS = ("group", "hosts", "nsswitch.conf", "passwd", "pip.conf", "resolv.conf", "ssl")
"""In /etc: what a container has there, too, and where packages come from."""
_CONFIGURES_PIP = re.compile(r"PIP_.*|(https?|no)_proxy", re.IGNORECASE)


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """The name and the arguments of each instruction of a Dockerfile."""
    lines = (line for line in text.splitlines() if not re.match(r"\s*#", line))
    for instruction in re.sub(r"\\\n", "", "\n".join(lines)).splitlines():
        if instruction.strip():
            name, _, arguments = instruction.strip().partition(" ")
            yield name.upper(), arguments.strip()


def is_ignored(path: str, patterns: Sequence[str]) -> bool:
    """Tell whether a .dockerignore keeps a path from the builder: the last that matches counts."""
    ignored = False
    for pattern in patterns:
        glob = re.escape(pattern.lstrip("!")).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
        if re.fullmatch(f"{glob}(/.*)?", path):
            ignored = not pattern.startswith("!")
    return ignored


@dataclass
class Image:
    """What a Dockerfile makes."""

    root: Path
    user: str = "0:0"
    port: int = 0
    stop_signal: str = "SIGTERM"
    healthcheck: list[str] = field(default_factory=list)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)

    def run(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        volumes: Mapping[str, Path] = {},
        temporary: Mapping[str, int] = {},
    ) -> list[str]:
        """The command line for a process that may write nowhere else and has no privileges.

        Its first process has the id 1, as in a container, and gets the signals of its group.

        Args:
            command: what is run, as the user of the image.
            env: its environment, but for that of the base image.
            volumes: folders that it may read, by where it sees them.
            temporary: empty folders that it may write to, and their bytes.
        """
        mounts = [f"mount -t proc proc {_in(self.root, '/proc')}"]
        for place, folder in volumes.items():
            mounts.append(f"mount -o bind,ro {folder} {_in(self.root, place)}")
        for place, size in temporary.items():
            mounts.append(f"mount -t tmpfs -o size={size},mode=777 tmpfs {_in(self.root, place)}")
        for place in (*volumes, *temporary):
            _in(self.root, place).mkdir(parents=True, exist_ok=True)
        mounts.append(f"mount -o remount,bind,ro {self.root}")
        user, _, group = self.user.partition(":")
        rights = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
        rights += ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
        values = [f"{name}={value}" for name, value in (BASE | dict(env)).items()]
        whole = [*rights, "env", "-i", *values, *command]
        return ["unshare", "--pid", "--fork", "--kill-child", *_inside(self.root, mounts, whole)]


def build(dockerfile: Path, context: Path, folder: Path) -> Image:
    """Carry out a Dockerfile to its last stage.

    Args:
        dockerfile: beside it is its .dockerignore.
        context: what it copies from.
        folder: for the stages.
    """
    ignore = dockerfile.with_name(f"{dockerfile.name}.dockerignore").read_text(encoding="utf-8")
    patterns = [line for line in ignore.splitlines() if line and not line.startswith("#")]
    stages: dict[str, Image] = {}
    for name, arguments in instructions(dockerfile.read_text(encoding="utf-8")):
        if name == "FROM":
            stage = arguments.rpartition(" AS ")[2] if " AS " in arguments else str(len(stages))
            image = stages[stage] = Image(_new_root(folder / stage))
            continue
        match name:
            case "COPY" if found := re.match(r"--from=(\S+) ", arguments):
                _copy(image.root, stages[found[1]].root, arguments[found.end() :].split(), [])
            case "COPY":
                _copy(image.root, context, arguments.split(), patterns)
            case "RUN":
                _run(image.root, arguments)
            case "USER":
                image.user = arguments
            case "EXPOSE":
                image.port = int(arguments)
            case "STOPSIGNAL":
                image.stop_signal = arguments
            case "HEALTHCHECK":
                image.healthcheck = json.loads(arguments.partition("CMD ")[2])
            case "ENTRYPOINT":
                image.entrypoint = json.loads(arguments)
            case "CMD":
                image.command = json.loads(arguments)
            case _:
                raise NotImplementedError(f"{name} {arguments}")
    return image


def _new_root(root: Path) -> Path:
    root.mkdir(parents=True)
    root.chmod(0o755)
    for place in (*_SYSTEM, "/dev", "/proc", "/tmp"):
        if Path(place).is_symlink():
            _in(root, place).symlink_to(Path(place).readlink())
        elif Path(place).exists():
            _in(root, place).mkdir()
    _in(root, "/tmp").chmod(0o1777)
    (root / "etc").mkdir()
    for setting in _SETTINGS:
        if Path("/etc", setting).exists():
            subprocess.run(["cp", "-RL", Path("/etc", setting), root / "etc"], check=True)
    return root


def _in(root: Path, place: str) -> Path:
    return root / place.lstrip("/")


def _copy(root: Path, source: Path, paths: Sequence[str], patterns: Sequence[str]) -> None:
    *names, place = paths
    for name in names:
        path = _in(source, name)
        assert not is_ignored(name, patterns), f"{name} does not reach the builder"
        if path.is_dir():
            shutil.copytree(
                path,
                _in(root, place),
                symlinks=True,
                dirs_exist_ok=True,
                ignore=lambda folder, inside: [
                    each
                    for each in inside
                    if is_ignored(str((Path(folder) / each).relative_to(source)), patterns)
                ],
            )
        else:
            assert place.endswith("/"), f"{place} is no folder"
            _in(root, place).mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, _in(root, place))


def _run(root: Path, command: str) -> None:
    env = {name: value for name, value in os.environ.items() if _CONFIGURES_PIP.fullmatch(name)}
    mounts = [f"mount --bind /proc {_in(root, '/proc')}"]
    done = subprocess.run(
        _inside(root, mounts, ["/bin/sh", "-c", command]),
        env=env | BASE | {"HOME": "/root"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def _inside(root: Path, mounts: Sequence[str], command: Sequence[str]) -> list[str]:
    """A command line in a view of the files of its own, with a folder as the root."""
    lines = [f"mount --bind {root} {root}"]
    for place in _SYSTEM:
        if Path(place).exists() and not Path(place).is_symlink():
            lines.append(f"mount -o bind,ro {place} {_in(root, place)}")
    lines.append(f"mount -o bind,ro {sys.base_prefix} {_in(root, '/usr/local')}")
    lines.append(f"mount --rbind /dev {_in(root, '/dev')}")
    lines += [*mounts, f"exec chroot {root} {shlex.join(command)}"]
    return ["unshare", "--mount", "sh", "-ec", "\n".join(lines)]
