"""How many files this process may have open: each client is one, and its upstream another.

Services and containers often begin with a soft limit of 1024, and a hard one that is far higher;
the soft one is for programs that use select() (https://0pointer.net/blog/file-descriptor-limits.html).
"""

from __future__ import annotations

import logging
import sys

logger = logging.getLogger(__name__)


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
