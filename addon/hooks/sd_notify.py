"""Tell systemd that the proxy is ready, or is stopping (units with `Type=notify`)."""

from __future__ import annotations

import logging
import os
import socket

logger = logging.getLogger(__name__)

VARIABLE = "NOTIFY_SOCKET"
"""The environment variable with the path of systemd's socket."""


def send(state: str) -> None:
    """Notify systemd, if it listens; a failure is only logged.

    Args:
        state: an assignment of sd_notify(3), such as "READY=1".
    """
    if not (path := os.environ.get(VARIABLE)):
        return
    # A leading @ means Linux's abstract namespace, where names begin with a zero byte.
    address = "\0" + path[1:] if path.startswith("@") else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.connect(address)
            notify.sendall(state.encode("ascii"))
    except OSError as error:
        logger.warning("%s cannot be used: %s", VARIABLE, error.strerror)
