"""Tells systemd that the proxy serves, or is about to end (units with `Type=notify`)."""

from __future__ import annotations

import logging
import os
import socket

logger = logging.getLogger(__name__)

VARIABLE = "NOTIFY_SOCKET"
"""Where systemd says on which socket it listens."""


def send(state: str) -> None:
    """Tell it, if it has asked; a failure is logged, and no reason to end.

    Args:
        state: an assignment of sd_notify(3), such as "READY=1".
    """
    if not (path := os.environ.get(VARIABLE)):
        return
    # What begins with @ is in the abstract namespace of Linux, where it begins with a zero byte.
    address = "\0" + path[1:] if path.startswith("@") else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.connect(address)
            notify.sendall(state.encode("ascii"))
    except OSError as error:
        logger.warning("%s cannot be used: %s", VARIABLE, error.strerror)
