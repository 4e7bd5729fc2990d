"""How many files this process may have open: one per client, and another for its upstream.

Services and containers often start with a soft limit of 1024 and a far higher hard limit; the soft
limit is for programs that use select() (https://0pointer.net/blog/file-descriptor-limits.html).
"""

from __future__ import annotations

import logging
import resource

logger = logging.getLogger(__name__)

RESERVED = 200
"""Files not for clients: listeners, logs, health checks, and connections that are accepted only to
be closed (asyncio accepts up to a hundred at once)."""


def allow_many() -> None:
    """Raise the soft limit to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:  # macOS reports "unlimited", but rejects it.
        logger.warning("at most %d open files: %s", soft, error)


def allowed() -> int | None:
    """Return how many files may be open; None for no limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def clients(wanted: int, files: int | None) -> int:
    """Return how many clients may be connected at once.

    Args:
        wanted: `limits.connections`.
        files: how many files may be open (see `allowed`).
    """
    if files is None:
        return wanted
    return max(1, min(wanted, (files - min(RESERVED, files // 2)) // 2))
