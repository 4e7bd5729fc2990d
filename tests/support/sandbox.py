"""Runs a command with the system call filter that systemd would apply to a service.

python sandbox.py SYSTEMD-ANALYZE ALLOWED DENIED COMMAND...

ALLOWED and DENIED are comma-separated sets of systemd, as in SystemCallFilter=. The restrictions
of MemoryDenyWriteExecute=yes and RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX apply as well,
as in systemd's src/shared/seccomp-util.c.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
import subprocess
import sys

ALLOW = 0x7FFF0000
ERRNO = 0x00050000
EQUAL, MASKED_EQUAL = 4, 7


class Comparison(ctypes.Structure):
    """`struct scmp_arg_cmp` of libseccomp."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


NOT_EXECUTABLE = Comparison(2, MASKED_EQUAL, mmap.PROT_EXEC, 0)
NOT_WRITABLE = Comparison(2, MASKED_EQUAL, mmap.PROT_WRITE, 0)
CONDITIONS: dict[str, tuple[Comparison | None, ...]] = {
    "mmap": (NOT_EXECUTABLE, NOT_WRITABLE),
    "mprotect": (NOT_EXECUTABLE,),
    "pkey_mprotect": (NOT_EXECUTABLE,),
    "socket": tuple(
        Comparison(0, EQUAL, family, 0)
        for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
    ),
}
"""Each of these system calls is allowed only if one of its conditions holds."""


def members(program: str, names: str) -> set[str]:
    """Return the system calls in sets of systemd."""
    found: set[str] = set()
    for name in names.split(","):
        run = subprocess.run(
            [program, "syscall-filter", name], capture_output=True, text=True, check=True
        )
        lines = [line.strip() for line in run.stdout.splitlines()[1:]]
        for line in lines:
            if line.startswith("@"):
                found |= members(program, line)
            elif line and not line.startswith("#"):
                found.add(line)
    return found


def confine(calls: set[str]) -> None:
    """Allow this process only these system calls, and no new privileges."""
    library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ERRNO | errno.EPERM))
    for call in sorted(calls):
        number = library.seccomp_syscall_resolve_name(call.encode())
        if number < 0:
            continue  # Of another architecture, or newer than the library.
        for condition in CONDITIONS.get(call, (None,)):
            count, array = (0, None) if condition is None else (1, ctypes.byref(condition))
            if library.seccomp_rule_add_array(context, ALLOW, number, count, array):
                raise OSError(f"no rule for {call}")
    if library.seccomp_load(context):
        raise OSError("the filter cannot be loaded")


if __name__ == "__main__":
    analyze, allowed, denied, *command = sys.argv[1:]
    confine(members(analyze, allowed) - members(analyze, denied))
    os.execv(command[0], command)
