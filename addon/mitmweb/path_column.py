"""Paths in mitmweb as clients sent them.

The browser computes the column from `request.path` of a flow, which is the path that went upstream,
and no option or hook changes that. So another function takes the place of the one that describes a
flow to the browser. The flow itself stays as it is, and with it replay, export and flow files.
"""

from __future__ import annotations

import logging
from typing import Any

from mitmproxy import flow, http

from ..internals.place import Part
from ..internals.still_there import warning
from ..protocol import target
from . import shown

logger = logging.getLogger(__name__)


class PathColumn:
    """Takes the place of mitmweb's function, and gives it back."""

    def __init__(self) -> None:
        self._original: Any = None

    def install(self) -> None:
        """Show the paths of clients; log a warning if this mitmweb is not as expected."""
        if problem := warning(Part.PATHS):
            logger.warning("%s", problem)
            return
        from mitmproxy.tools.web import app  # Only mitmweb has loaded it.

        self._original = original = app.flow_to_json

        def describe(flow: flow.Flow) -> dict[str, Any]:
            described: dict[str, Any] = original(flow)
            if path := client_path(flow):
                described["request"]["path"] = path
            return described

        app.flow_to_json = describe

    def uninstall(self) -> None:
        """Give mitmweb its own function back."""
        if self._original is not None:
            from mitmproxy.tools.web import app

            app.flow_to_json = self._original
            self._original = None


def client_path(flow: flow.Flow) -> str | None:
    """Return path and query of a request as the client sent them.

    Returns:
        None if the flow itself has the path to show: it is not for MLflow, a person or an addon has
        changed the path since, the flow is intercepted, so that its path can be edited, or parts
        were left out of the client's path (see `target.shown`).
    """
    if not isinstance(flow, http.HTTPFlow) or flow.intercepted:
        return None
    path, mark, query = flow.request.path.partition("?")
    received = shown.received(flow)
    if received is None or target.shown(path) != path:
        return None
    return f"{received}{mark}{query}"  # Rules do not change the query.
