"""Shows flows to people, and keeps the list of flows short."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mitmproxy import ctx, http
from mitmproxy.addonmanager import Loader

from ..hooks import lean, option_names
from . import content_view, flow_ring, shown
from .path_column import PathColumn

if TYPE_CHECKING:
    from mitmproxy.addons.view import View

_FILE_OPTIONS = frozenset({"save_stream_file", "hardump"})
"""mitmproxy options that write flows to a file."""


class Display:
    """The addon with the option `mlflow_keep_flows`."""

    name = "mlflow-display"

    def __init__(self) -> None:
        self._on = False
        self._running = False
        self._keep_flows = flow_ring.DEFAULT
        self._view: View | None = None
        """Where mitmweb and mitmproxy keep flows."""
        self._path_column = PathColumn()

    def load(self, loader: Loader) -> None:
        """Register the option, and show comments."""
        loader.add_option(
            "mlflow_keep_flows",
            int,
            flow_ring.DEFAULT,
            "Flows that mitmweb keeps; the oldest without a mark are dropped. 0 keeps all.",
        )
        _show_comments()

    def configure(self, updated: set[str]) -> None:
        """Apply changed options."""
        if "mlflow_keep_flows" in updated:
            value = ctx.options.mlflow_keep_flows
            if value < 0:
                problem = f"mlflow_keep_flows: {value}: expected 0 or more"
                option_names.refuse(problem, running=self._running)
            self._keep_flows = value
        if updated & _FILE_OPTIONS:
            self._look()

    def running(self) -> None:
        """Look for a user interface."""
        self._running = True
        self._view = ctx.master.addons.get("view")
        self._look()
        if self._view is not None:
            content_view.add()
        if "web_columns" in ctx.options:
            self._path_column.install()

    def done(self) -> None:
        """Leave mitmweb as it was."""
        self._path_column.uninstall()

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Show what is known of a flow by now."""
        if self._on:
            shown.show(flow)

    request = requestheaders

    def response(self, flow: http.HTTPFlow) -> None:
        """Show the whole flow, and drop the oldest ones if there are too many."""
        if self._on:
            shown.show(flow)
        self.error(flow)

    def error(self, _: http.HTTPFlow) -> None:
        """Drop the oldest flows if there are too many."""
        if self._view is not None:
            flow_ring.trim(self._view, self._keep_flows)

    def is_on(self) -> bool:
        """Return whether flows are shown in a user interface or written to a file."""
        return self._on

    def _look(self) -> None:
        to_file = any(getattr(ctx.options, name) for name in _FILE_OPTIONS if name in ctx.options)
        self._on = self._view is not None or to_file


def _show_comments() -> None:
    """Add the comment to the columns of mitmweb's list, unless the user has chosen columns."""
    if "web_columns" not in ctx.options or lean.is_set(ctx.options, "web_columns"):
        return
    columns: list[str] = ctx.options.web_columns
    # Next to the marker, which is shown at the end of the path.
    columns.insert(columns.index("path") + 1, "comment")
    ctx.options.web_columns = columns
