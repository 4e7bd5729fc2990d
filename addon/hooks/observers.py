"""The access log and the metrics: what is reported of requests that have ended."""

from __future__ import annotations

from collections.abc import Callable

from mitmproxy import ctx, http
from mitmproxy.addonmanager import Loader
from mitmproxy.connection import Client

from ..errors.replies import Reply
from ..observe.measured import State
from ..observe.reports import Reports
from . import on_end, option_names


class Observers(Reports):
    """The addon with the options `mlflow_access_log` and `mlflow_metrics`."""

    name = "mlflow-observers"

    def __init__(self) -> None:
        super().__init__(lambda: self.state())
        self.state: Callable[[], State]
        """Returns the state of the proxy, for the metrics."""

    def load(self, loader: Loader) -> None:
        """Register the options."""
        loader.add_option(
            "mlflow_access_log",
            str,
            "",
            "File to which a line of JSON is appended for each request; - is standard output.",
        )
        loader.add_option(
            "mlflow_metrics",
            str,
            "",
            "PORT or HOST:PORT of the page with metrics for Prometheus, /metrics; a port alone is "
            "on 127.0.0.1.",
        )

    def configure(self, updated: set[str]) -> None:
        """Open the files and addresses that the options name."""
        if "mlflow_access_log" in updated:
            self._open("mlflow_access_log", self.write_to)
        if "mlflow_metrics" in updated:
            self._open("mlflow_metrics", self.listen_on)

    running = Reports.start
    done = Reports.close

    def response(self, flow: http.HTTPFlow) -> None:
        """Report a request that has ended, with an answer or without one."""
        if self.wanted:
            self.add(on_end.ended(flow))

    error = response

    def refused(self, client: Client, reply: Reply) -> None:
        """Report a refusal of bytes that do not become a flow."""
        if self.wanted:
            self.add(on_end.ended_without_flow(client, reply))

    def _open(self, option: str, begin: Callable[[str], None]) -> None:
        value = getattr(ctx.options, option)
        try:
            begin(value)
        except ValueError as error:
            option_names.refuse(f"{option}: {value}: {error}", running=self.started)
