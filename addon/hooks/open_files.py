"""How many files this process may have open: each client is one, and its upstream another.

Services and containers often begin with a soft limit of 1024, and a hard one that is far higher;
the soft one is for programs that use select() (https://0pointer.net/blog/file-descriptor-limits.html).
"""

from __future__ import annotations

import logging
import sys

logger = logging.getLogger(__name__)

RESERVED = 200
"""Files that are not for clients: listeners, logs, our own questions, and connections that are
accepted only to be closed, of which asyncio takes up to a hundred in one go."""


def allow_many() -> None:
    """Raise the soft limit to the hard one."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:  # macOS calls it unlimited, but takes no such number.
        logger.warning("at most %d open files: %s", soft, error)


def allowed() -> int | None:
    """How many there may be; None for any number."""
    if sys.platform == "win32":
        return None
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def clients(wanted: int, files: int | None) -> int:
    """How many clients may be connected at once.

    Args:
        wanted: `limits.connections`.
        files: how many may be open (see `allowed`).
    """
    if files is None:
        return wanted
    return max(1, min(wanted, (files - min(RESERVED, files // 2)) // 2))
