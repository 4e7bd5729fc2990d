"""Metrics for Prometheus, with names and units as its documentation recommends
(https://prometheus.io/docs/practices/naming/).

Every label has a fixed set of values, independent of clients and upstreams: there are fewer than
3000 series, and a busy proxy has about 400. The rules alone decide how many values `mount` has,
each with about 130 series; it is "" for the upstream of the command line, which Prometheus reads as
no label. Requests are counted in plain numbers, in a third of the time of the library's own
counters: those are thread-safe, but here everything is on one event loop. The library only builds
the page.
"""

from __future__ import annotations

import platform
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from http import HTTPMethod, HTTPStatus
from importlib import metadata
from itertools import accumulate
from typing import TypeVar, get_args

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from .. import __version__
from ..errors.replies import UPSTREAM_PROBLEMS, Refusal
from ..routing.families import Family
from ..routing.flow_state import Conversion
from .measured import Ended, State

PREFIX = "mlflow_proxy_"

FAMILIES: tuple[Family, ...] = get_args(Family)
METHODS: dict[str | None, str] = {None: "none", **{m: m.value for m in HTTPMethod}}
STATUSES: dict[int | None, str] = {None: "none", **{s: str(s.value) for s in HTTPStatus}}
OTHER = "other"
MOUNT = "mount"
"""The label for mounts with an upstream of their own; missing as long as there are none."""

SECONDS = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0),
)
"""Buckets: from an answer out of a cache to `upstream.response_timeout` and a long upload."""

_REFUSALS: frozenset[str] = frozenset(get_args(Refusal))

_Metric = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
_Labels = tuple[str, ...]
_Value = TypeVar("_Value")


class Metrics(Collector):
    """Counts requests that have ended.

    Args:
        state: returns the current state of the proxy.
    """

    def __init__(self, state: Callable[[], State]) -> None:
        self._state = state
        # Keys are the values of labels; the mount is the last.
        self._requests: dict[_Labels, int] = defaultdict(int)
        """By family, method, status, source and mount."""
        # Without mounts: the transfer is in them, so they say less about a registry than the first
        # byte, and histograms make up most of the page.
        self._durations = {family: _Histogram() for family in FAMILIES}
        self._totals: dict[_Labels, _Totals] = defaultdict(_Totals)
        """By family and mount."""
        self._refused: dict[_Labels, int] = defaultdict(int)
        self._failures: dict[_Labels, int] = defaultdict(int)
        self._converted: dict[_Labels, int] = defaultdict(int)
        # Series start at 0; they are not missing until something happens.
        self._totals.update({(family, ""): _Totals() for family in FAMILIES})
        for counts, values in (
            (self._refused, _REFUSALS),
            (self._failures, UPSTREAM_PROBLEMS),
            (self._converted, get_args(Conversion)),
        ):
            counts.update({(value, ""): 0 for value in sorted(values)})
        # Our own registry, because another script may use the library, too.
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def count(self, ended: Ended) -> None:
        """Count a request that has ended."""
        family, mount = ended.family, ended.mount
        method, status = METHODS.get(ended.method, OTHER), STATUSES.get(ended.status, OTHER)
        self._requests[family, method, status, ended.error_source or "none", mount] += 1
        self._durations[family].add(ended.end - ended.start)
        totals = self._totals[family, mount]
        if ended.head is not None:
            totals.first_byte.add(ended.head - ended.start)
        totals.bytes_in += ended.bytes_in
        totals.bytes_out += ended.bytes_out
        if ended.converted:
            self._converted[ended.converted, mount] += 1
        if ended.why in _REFUSALS:
            self._refused[ended.why, mount] += 1
        elif ended.why and family != "health":
            self._failures[ended.why, mount] += 1

    def count_refused(self, why: Refusal) -> None:
        """Count a refusal that happened before there was any request."""
        self._refused[why, ""] += 1

    def page(self) -> bytes:
        """Return all metrics as text for Prometheus."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[_Metric]:
        """Yield the metrics; the library calls this."""
        yield from self._by_status()
        totals = self._totals.items()
        durations: dict[_Labels, _Histogram] = {
            (family, ""): values for family, values in self._durations.items()
        }
        first_bytes = {labels: total.first_byte for labels, total in totals}
        yield _histogram("request_duration_seconds", "Until the end.", durations)
        yield _histogram("first_byte_seconds", "Until the answer's head.", first_bytes)
        received = {labels: total.bytes_in for labels, total in totals}
        sent = {labels: total.bytes_out for labels, total in totals}
        for name, about, label, counts in (
            ("request_body_bytes", "Bodies of ended requests.", "family", received),
            ("response_body_bytes", "Bodies of their answers.", "family", sent),
            ("refused", "Requests that were not passed on.", "reason", self._refused),
            ("converted", "Errors and pages put in MLflow's words.", "kind", self._converted),
            ("upstream_failures", "Requests without an answer (RFC 9209).", "kind", self._failures),
        ):
            yield _counter(name, about, (label, MOUNT), counts)
        yield from _of_state(self._state())

    def _by_status(self) -> Iterator[_Metric]:
        requests: dict[_Labels, int] = defaultdict(int)
        responses: dict[_Labels, int] = defaultdict(int)
        for (family, method, status, source, mount), count in self._requests.items():
            kind = f"{status[0]}xx" if status.isdigit() else status
            requests[family, method, kind, source, mount] += count
            responses[status, mount] += count
        labels = ("family", "method", "status", "source", MOUNT)
        yield _counter("requests", "Requests that have ended.", labels, requests)
        yield _counter("responses", "The same by exact status.", ("status", MOUNT), responses)


class _Histogram:
    """The number of durations in each bucket."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(SECONDS) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        seconds = max(0.0, seconds)  # The clock may have been set back.
        self.counts[bisect_left(SECONDS, seconds)] += 1
        self.sum += seconds


class _Totals:
    """The sums over the requests of a family and mount."""

    __slots__ = ("bytes_in", "bytes_out", "first_byte")

    def __init__(self) -> None:
        self.first_byte = _Histogram()
        self.bytes_in = 0
        self.bytes_out = 0


def _used(
    labels: _Labels, series: Mapping[_Labels, _Value]
) -> tuple[_Labels, dict[_Labels, _Value]]:
    """Return labels and series without the mount, if none that has its own upstream was used."""
    if any(values[-1] for values in series):
        return labels, dict(series)
    return labels[:-1], {values[:-1]: value for values, value in series.items()}


def _histogram(name: str, about: str, series: Mapping[_Labels, _Histogram]) -> _Metric:
    labels, used = _used(("family", MOUNT), series)
    metric = HistogramMetricFamily(PREFIX + name, f"Seconds. {about}", labels=labels)
    limits = [*map(str, SECONDS), "+Inf"]
    for values, found in used.items():
        buckets = [*zip(limits, map(float, accumulate(found.counts)), strict=True)]
        metric.add_metric(values, buckets, found.sum)
    return metric


def _counter(name: str, about: str, labels: _Labels, series: Mapping[_Labels, int]) -> _Metric:
    labels, used = _used(labels, series)
    metric = CounterMetricFamily(PREFIX + name, about, labels=labels)
    for values, count in used.items():
        metric.add_metric(values, count)
    return metric


def _gauge(name: str, about: str, of_mounts: Mapping[str, float]) -> _Metric:
    labels, used = _used((MOUNT,), {(mount,): value for mount, value in of_mounts.items()})
    metric = GaugeMetricFamily(PREFIX + name, about, labels=labels)
    for values, value in used.items():
        metric.add_metric(values, value)
    return metric


def _of_state(state: State) -> Iterator[_Metric]:
    gauges: dict[str, tuple[str, float]] = {
        "requests_in_flight": ("Requests that are being served.", state.in_flight),
        "requests_in_flight_limit": ("limits.flows of the rules.", state.flows_limit),
        "client_connections": ("Open connections of clients.", state.client_connections),
        "client_connections_limit": (
            "limits.connections of the rules, or what the number of open files allows.",
            state.clients_limit,
        ),
        "held_bytes": ("Bodies in memory, but for small ones.", state.held),
        "held_bytes_limit": ("limits.held of the rules.", state.held_limit),
        "upstream_connections": ("Open connections upstream.", state.upstream_connections),
        "draining": ("1 after SIGTERM.", state.draining),
        "rules_current": ("0 after a change that was refused.", state.rules_current),
        "rules_read_timestamp_seconds": ("When the rules were read.", state.rules_read),
    }
    for name, (about, value) in gauges.items():
        yield GaugeMetricFamily(PREFIX + name, about, float(value))
    if state.readiness:
        ready = {mount: float(verdict) for mount, (_, verdict) in state.readiness.items()}
        asked = {mount: when for mount, (when, _) in state.readiness.items()}
        yield _gauge("upstream_ready", "The last verdict of /readyz.", ready)
        yield _gauge("upstream_ready_timestamp_seconds", "When that check was made.", asked)
    reloads = CounterMetricFamily(
        PREFIX + "rules_reloads", "How often changed rules were read.", labels=["result"]
    )
    for result, count in state.reloads.items():
        reloads.add_metric([result], count)
    yield reloads
    versions = {
        "version": __version__,
        "mitmproxy": metadata.version("mitmproxy"),
        "python": platform.python_version(),
    }
    build = GaugeMetricFamily(PREFIX + "build_info", "1, with versions.", labels=[*versions])
    build.add_metric([*versions.values()], 1)
    yield build
