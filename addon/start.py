"""The addon for mitmproxy to load, if it works with this version of mitmproxy."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any

from mitmproxy.connection import Client

from .internals.place import Part
from .internals.still_there import warning

logger = logging.getLogger(__name__)


class NobodyServed:
    """Takes the place of the addon until mitmproxy ends, or after a failed reload."""

    def client_connected(self, client: Client) -> None:
        """Turn a client away."""
        client.error = "the addon does not work with this mitmproxy"


def addons() -> list[Any]:
    """Return the addon, or one that turns all clients away if refusals could not work."""
    if problem := warning(Part.SAFETY):
        logger.error("%s", problem)  # At start this ends mitmproxy with exit code 1.
        return [NobodyServed()]
    # Only now: the import needs the places that were checked.
    made: list[Any] = import_module(f"{__package__}.assembly").addons()
    return made
