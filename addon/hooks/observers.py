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


class Observers:
    """The addon with the options `mlflow_access_log` and `mlflow_metrics`."""

    name = "mlflow-observers"

    def __init__(self) -> None:
        self._reports = Reports(lambda: self.state())
        self.count_refused = self._reports.count_refused
        """Count a refusal that happened before there was any request."""
        self.state: Callable[[], State]
        """Returns the state of the proxy, for the metrics."""
        self._running = False

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
            self._open("mlflow_access_log", self._reports.write_to)
        if "mlflow_metrics" in updated:
            self._open("mlflow_metrics", self._reports.listen_on)

    def running(self) -> None:
        """Serve the metrics."""
        self._running = True
        self._reports.start()

    def done(self) -> None:
        """Close both."""
        self._reports.close()

    def response(self, flow: http.HTTPFlow) -> None:
        """Report a request that has ended, with an answer or without one."""
        if self._reports.wanted:
            self._reports.add(on_end.ended(flow))

    error = response

    def refused(self, client: Client, reply: Reply) -> None:
        """Report a refusal of bytes that do not become a flow."""
        if self._reports.wanted:
            self._reports.add(on_end.ended_without_flow(client, reply))

    def _open(self, option: str, begin: Callable[[str], None]) -> None:
        value = getattr(ctx.options, option)
        try:
            begin(value)
        except ValueError as error:
            option_names.refuse(f"{option}: {value}: {error}", running=self._running)
