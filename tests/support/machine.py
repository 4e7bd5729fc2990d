"""A machine with a real systemd, in Linux namespaces; needs root and an installed systemd.

It sees this machine's files, but its changes to them are lost when it ends. It shares the
network. Of this machine's services it starts only systemd's journal.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import lab

from .waiting import eventually

SYSTEMD = Path("/lib/systemd/systemd")
# Rights over the whole machine, such as its clock, are dropped.
_LOST_RIGHTS = "-sys_time,-sys_module,-sys_rawio,-sys_boot"

# The machine has its own control groups, which must be removed when it ends.
_OUTSIDE = """
mount -t tmpfs tmpfs $ROOT
mkdir $ROOT/cgroup $ROOT/changed $ROOT/work $ROOT/top
mount -t cgroup2 cgroup2 $ROOT/cgroup
group=$ROOT/cgroup/mlflow-proxy-test-$$
mkdir $group
status=0
sh -ec 'echo 0 >$0/cgroup.procs
    exec unshare --cgroup --pid --fork --kill-child --mount --ipc --uts sh -ec "$INSIDE"
' $group || status=$?
find $group -depth -type d -exec rmdir {} +
exit $status
"""
_INSIDE = """
mount -t overlay -o lowerdir=/,upperdir=$ROOT/changed,workdir=$ROOT/work overlay $ROOT/top
cd $ROOT/top
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
mount -t tmpfs tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for device in null zero full random urandom tty; do
    touch dev/$device
    mount --bind /dev/$device dev/$device
done
units=${SYSTEMD%/*}/system
units=${units#/}
rm -rf etc/systemd/system/*.wants $units/*.target.wants ${units%/*}/system-generators
mkdir $units/sysinit.target.wants
ln -s ../systemd-journald.service $units/sysinit.target.wants/
mkdir old
pivot_root . old
$PLACE
umount -l old
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin setpriv --bounding-set=$LOST_RIGHTS \\
    $COMMAND
"""


def _start(command: str, folder: Path, places: Mapping[str, Path]) -> lab.Server:
    (folder / "root").mkdir(parents=True)
    lines = [f"mkdir -p {place}; mount --bind old{path} {place}" for place, path in places.items()]
    env = {
        "ROOT": str(folder / "root"),
        "SYSTEMD": str(SYSTEMD),
        "INSIDE": _INSIDE.replace("$PLACE", "\n".join(lines))
        .replace("$LOST_RIGHTS", _LOST_RIGHTS)
        .replace("$COMMAND", command),
    }
    private = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", _OUTSIDE]
    return lab.Server(private, url="", log=folder / "log", env=env)


def missing(folder: Path) -> str:
    """Return why such a machine cannot run here; empty if it can."""
    if os.geteuid() != 0:
        return "namespaces need root"
    if not SYSTEMD.exists() or shutil.which("systemctl") is None:
        return "no systemd is installed"
    with _start("true", folder, {}) as tried:
        works = tried.process.wait(30) == 0
    return "" if works else f"no namespaces here: {tried.tail(1)}"


class Machine:
    """Runs while it is used as a context manager.

    Args:
        folder: for its log.
        places: folders of this machine, by their paths inside.
    """

    def __init__(self, folder: Path, places: Mapping[str, Path]) -> None:
        self._server = _start(f"{SYSTEMD} --unit=basic.target", folder, places)
        self._first = 0

    def __enter__(self) -> Self:
        try:
            eventually(self._is_up, 30)
        except AssertionError:
            self._server.stop()
            raise AssertionError(self._server.text()) from None
        return self

    def __exit__(self, *_: object) -> None:
        # The kernel kills all other processes with the first one.
        os.kill(self._first, signal.SIGKILL)
        self._server.process.wait(30)

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command in it, as root."""
        there = ["nsenter", f"--target={self._first}", "--mount", "--pid", "--cgroup", "--ipc"]
        there += ["--uts", "--root", "--wd"]
        return subprocess.run([*there, *command], capture_output=True, text=True, check=False)

    def do(self, script: str) -> str:
        """Run a shell script; return its output.

        Raises:
            AssertionError: it failed.
        """
        done = self.run("sh", "-ec", script)
        journal = "" if done.returncode == 0 else self.run("journalctl", "--no-pager").stdout
        assert done.returncode == 0, done.stdout + done.stderr + journal
        return done.stdout

    def _is_up(self) -> bool:
        assert self._server.process.poll() is None
        process = self._server.process.pid
        # The shell, unshare, and the forked process.
        for _ in range(2):
            children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
            if not children:
                return False
            process = int(children[0])
        self._first = process
        return self.run("systemctl", "is-system-running").stdout in ("running\n", "degraded\n")
