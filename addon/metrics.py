"""Metrics for Prometheus, by the names and units that its documentation asks for
(https://prometheus.io/docs/practices/naming/).

Every label has a fixed set of values, whatever clients and upstreams send; see `BOUND`.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator
from http import HTTPMethod, HTTPStatus
from typing import NamedTuple, get_args

import prometheus_client
from mitmproxy import version
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from . import __version__
from .decision import Conversion
from .families import Family
from .measured import Ended, State
from .replies import UPSTREAM_PROBLEMS, Refusal

PREFIX = "mlflow_proxy_"

FAMILIES: tuple[Family, ...] = get_args(Family)
SOURCES = ("none", "proxy", "upstream", "client")
METHODS: dict[str | None, str] = {None: "none", **{m: m.value for m in HTTPMethod}}
STATUSES: dict[int | None, str] = {None: "none", **{s: str(s.value) for s in HTTPStatus}}
OTHER = "other"

SECONDS = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0),
)
"""Buckets: from an answer out of some memory to `upstream.response_timeout` and a long upload."""

BOUND = 3000
"""More series than there can ever be; a proxy at work has some 600."""


class _OfFamily(NamedTuple):
    """The series of a family that every request adds to."""

    duration: Histogram
    first_byte: Histogram
    bytes_in: Counter
    bytes_out: Counter


class Metrics:
    """Counts requests that have ended.

    Args:
        state: tells how the proxy is when somebody asks.
    """

    def __init__(self, state: Callable[[], State]) -> None:
        # They would nearly double the page, and nothing here uses them.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = registry = CollectorRegistry()
        by = ("family", "method", "status", "source")
        self._requests = _counter(registry, "requests", "Requests that have ended.", *by)
        self._responses = _counter(registry, "responses", "The same by exact status.", "status")
        self._refused = _prefilled(
            _counter(registry, "refused", "Requests that were not passed on.", "reason"),
            get_args(Refusal),
        )
        self._failures = _prefilled(
            _counter(
                registry,
                "upstream_failures",
                "Requests, health checks apart, that the upstream did not answer, by RFC 9209.",
                "kind",
            ),
            UPSTREAM_PROBLEMS,
        )
        self._converted = _prefilled(
            _counter(registry, "converted", "Errors and pages put in MLflow's words.", "kind"),
            get_args(Conversion),
        )
        self._of_family = _of_families(registry)
        self._of_labels: dict[tuple[str, str, str, str], tuple[Counter, Counter]] = {}
        ProcessCollector(registry=registry)
        registry.register(_StateCollector(state))

    def count(self, ended: Ended) -> None:
        """Count a request that has ended."""
        labels = (
            ended.family,
            METHODS.get(ended.method, OTHER),
            STATUSES.get(ended.status, OTHER),
            ended.error_source or "none",
        )
        for counter in self._of_labels.get(labels) or self._resolve(*labels):
            counter.inc()
        series = self._of_family[ended.family]
        # The clock may have been set back.
        series.duration.observe(max(0.0, ended.end - ended.start))
        if ended.head is not None:
            series.first_byte.observe(max(0.0, ended.head - ended.start))
        if ended.bytes_in:
            series.bytes_in.inc(ended.bytes_in)
        if ended.bytes_out:
            series.bytes_out.inc(ended.bytes_out)
        if ended.converted:
            self._converted[ended.converted].inc()
        if ended.why in self._refused:
            self._refused[ended.why].inc()
        elif ended.why and ended.family != "health":
            self._failures[ended.why].inc()

    def page(self) -> bytes:
        """All of it as text, as Prometheus reads it."""
        return prometheus_client.generate_latest(self._registry)

    def _resolve(
        self, family: str, method: str, status: str, source: str
    ) -> tuple[Counter, Counter]:
        kind = f"{status[0]}xx" if status.isdigit() else status
        resolved = (
            self._requests.labels(family, method, kind, source),
            self._responses.labels(status),
        )
        self._of_labels[family, method, status, source] = resolved
        return resolved


def _counter(registry: CollectorRegistry, name: str, about: str, *labels: str) -> Counter:
    return Counter(PREFIX + name, about, labels, registry=registry)


def _prefilled(counter: Counter, values: Iterable[str]) -> dict[str, Counter]:
    """The series of all values: those that nothing has happened to yet are 0, not missing."""
    return {value: counter.labels(value) for value in sorted(values)}


def _of_families(registry: CollectorRegistry) -> dict[str, _OfFamily]:
    def histogram(name: str, about: str) -> Histogram:
        return Histogram(PREFIX + name, about, ["family"], registry=registry, buckets=SECONDS)

    duration = histogram("request_duration_seconds", "From the request head to the end of it all.")
    first_byte = histogram("first_byte_seconds", "From the request head to the answer's head.")
    bytes_in = _counter(registry, "request_body_bytes", "Bodies of ended requests.", "family")
    bytes_out = _counter(registry, "response_body_bytes", "Bodies of their answers.", "family")
    return {
        family: _OfFamily(
            duration.labels(family),
            first_byte.labels(family),
            bytes_in.labels(family),
            bytes_out.labels(family),
        )
        for family in FAMILIES
    }


class _StateCollector(Collector):
    """How the proxy is, at the moment of the question."""

    def __init__(self, state: Callable[[], State]) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        state = self._state()
        gauges: dict[str, tuple[str, float]] = {
            "requests_in_flight": ("Requests that are being served.", state.in_flight),
            "requests_in_flight_limit": ("limits.flows of the rules.", state.flows_limit),
            "client_connections": ("Open connections of clients.", state.client_connections),
            "upstream_connections": ("Open connections upstream.", state.upstream_connections),
            "draining": ("1 after SIGTERM.", state.draining),
            "rules_current": ("0 after a change that was refused.", state.rules_current),
            "rules_read_timestamp_seconds": ("When the rules were read.", state.rules_read),
        }
        if state.readiness is not None:
            asked, ready = state.readiness
            gauges["upstream_ready"] = ("The last verdict of /readyz.", ready)
            gauges["upstream_ready_timestamp_seconds"] = ("When it was found out.", asked)
        for name, (about, value) in gauges.items():
            yield GaugeMetricFamily(PREFIX + name, about, float(value))
        reloads = CounterMetricFamily(
            PREFIX + "rules_reloads", "How often changed rules were read.", labels=["result"]
        )
        for result, count in state.reloads.items():
            reloads.add_metric([result], count)
        yield reloads
        versions = {
            "version": __version__,
            "mitmproxy": version.VERSION,
            "python": platform.python_version(),
        }
        build = GaugeMetricFamily(PREFIX + "build_info", "1, with versions.", labels=[*versions])
        build.add_metric([*versions.values()], 1)
        yield build
