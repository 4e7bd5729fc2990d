"""What mitmproxy is given to load: the addon, if this mitmproxy is one that it can work with."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any

from mitmproxy.connection import Client

from .internals.reached_into import Part
from .internals.still_there import warning

logger = logging.getLogger(__name__)


class NobodyServed:
    """In place of the addon until mitmproxy ends, or after a reload that has failed."""

    def client_connected(self, client: Client) -> None:
        """Turn a client away."""
        client.error = "the addon does not work with this mitmproxy"


def addons() -> list[Any]:
    """The addon; where it could not refuse what it has to, nobody is served."""
    if problem := warning(Part.SAFETY):
        logger.error("%s", problem)  # At start that ends mitmproxy with exit code 1.
        return [NobodyServed()]
    # Only now: importing it needs what was looked for.
    return [import_module(f"{__package__}.proxy").MlflowProxy()]
