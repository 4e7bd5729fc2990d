"""Metrics for Prometheus, with names and units as its documentation recommends
(https://prometheus.io/docs/practices/naming/).

Every label has a fixed set of values, independent of clients and upstreams: there are fewer than
3000 series, and a busy proxy has about 400. The rules alone decide how many values `mount` has; it
is "" for the upstream of the command line, which Prometheus reads as no label. Requests are counted
in plain numbers, in a third of the time of the library's own counters: those are thread-safe, but
here everything is on one event loop. The library only builds the page.
"""

from __future__ import annotations

import platform
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from http import HTTPMethod, HTTPStatus
from importlib import metadata
from itertools import accumulate
from typing import get_args

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

_Metric = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


class Metrics(Collector):
    """Counts requests that have ended.

    Args:
        state: returns the current state of the proxy.
    """

    def __init__(self, state: Callable[[], State]) -> None:
        self._state = state
        self._requests: dict[tuple[str, str, str, str, str], int] = defaultdict(int)
        """By family, method, status, source and mount."""
        # Series start at 0; they are not missing until something happens.
        self._durations = {family: _Histogram() for family in FAMILIES}
        self._first_bytes = {family: _Histogram() for family in FAMILIES}
        self._bytes_in = dict.fromkeys(FAMILIES, 0)
        self._bytes_out = dict.fromkeys(FAMILIES, 0)
        self._refused: dict[str, int] = dict.fromkeys(get_args(Refusal), 0)
        self._failures: dict[tuple[str, ...], int] = {
            (kind, ""): 0 for kind in sorted(UPSTREAM_PROBLEMS)
        }
        """By kind and mount."""
        self._converted = dict.fromkeys(get_args(Conversion), 0)
        # Our own registry, because another script may use the library, too.
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def count(self, ended: Ended) -> None:
        """Count a request that has ended."""
        family = ended.family
        method, status = METHODS.get(ended.method, OTHER), STATUSES.get(ended.status, OTHER)
        self._requests[family, method, status, ended.error_source or "none", ended.mount] += 1
        self._durations[family].add(ended.end - ended.start)
        if ended.head is not None:
            self._first_bytes[family].add(ended.head - ended.start)
        self._bytes_in[family] += ended.bytes_in
        self._bytes_out[family] += ended.bytes_out
        if ended.converted:
            self._converted[ended.converted] += 1
        if ended.why in self._refused:
            self._refused[ended.why] += 1
        elif ended.why and family != "health":
            key = ended.why, ended.mount
            self._failures[key] = self._failures.get(key, 0) + 1

    def count_refused(self, why: Refusal) -> None:
        """Count a refusal that happened before there was any request."""
        self._refused[why] += 1

    def page(self) -> bytes:
        """Return all metrics as text for Prometheus."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[_Metric]:
        """Yield the metrics; the library calls this."""
        yield from self._by_status()
        yield _histogram("request_duration_seconds", "Until the end.", self._durations)
        yield _histogram("first_byte_seconds", "Until the answer's head.", self._first_bytes)
        for name, about, label, counts in (
            ("request_body_bytes", "Bodies of ended requests.", "family", self._bytes_in),
            ("response_body_bytes", "Bodies of their answers.", "family", self._bytes_out),
            ("refused", "Requests that were not passed on.", "reason", self._refused),
            ("converted", "Errors and pages put in MLflow's words.", "kind", self._converted),
        ):
            yield _counter(name, about, (label,), {(value,): n for value, n in counts.items()})
        about = "Requests without an answer (RFC 9209)."
        yield _counter("upstream_failures", about, ("kind", MOUNT), self._failures)
        yield from _of_state(self._state())

    def _by_status(self) -> Iterator[_Metric]:
        requests: dict[tuple[str, ...], int] = defaultdict(int)
        responses: dict[tuple[str, ...], int] = defaultdict(int)
        for (family, method, status, source, mount), count in self._requests.items():
            kind = f"{status[0]}xx" if status.isdigit() else status
            requests[family, method, kind, source, mount] += count
            responses[status,] += count
        labels = ("family", "method", "status", "source", MOUNT)
        yield _counter("requests", "Requests that have ended.", labels, requests)
        yield _counter("responses", "The same by exact status.", ("status",), responses)


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


def _histogram(name: str, about: str, of_families: Mapping[Family, _Histogram]) -> _Metric:
    metric = HistogramMetricFamily(PREFIX + name, f"Seconds. {about}", labels=["family"])
    limits = [*map(str, SECONDS), "+Inf"]
    for family, values in of_families.items():
        buckets = [*zip(limits, map(float, accumulate(values.counts)), strict=True)]
        metric.add_metric([family], buckets, values.sum)
    return metric


def _counter(
    name: str, about: str, labels: tuple[str, ...], counts: Mapping[tuple[str, ...], int]
) -> _Metric:
    if labels[-1] == MOUNT and not any(values[-1] for values in counts):
        # No mount has been used that has its own upstream.
        labels, counts = labels[:-1], {values[:-1]: count for values, count in counts.items()}
    metric = CounterMetricFamily(PREFIX + name, about, labels=labels)
    for values, count in counts.items():
        metric.add_metric(values, count)
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
        labels = [MOUNT] if any(state.readiness) else []
        ready = GaugeMetricFamily(
            f"{PREFIX}upstream_ready", "The last verdict of /readyz.", labels=labels
        )
        checked = GaugeMetricFamily(
            f"{PREFIX}upstream_ready_timestamp_seconds", "When that check was made.", labels=labels
        )
        for mount, (asked, verdict) in state.readiness.items():
            ready.add_metric([mount] if labels else [], float(verdict))
            checked.add_metric([mount] if labels else [], asked)
        yield ready
        yield checked
    reloads: dict[tuple[str, ...], int] = {(r,): count for r, count in state.reloads.items()}
    yield _counter("rules_reloads", "How often changed rules were read.", ("result",), reloads)
    versions = {
        "version": __version__,
        "mitmproxy": metadata.version("mitmproxy"),
        "python": platform.python_version(),
    }
    build = GaugeMetricFamily(PREFIX + "build_info", "1, with versions.", labels=[*versions])
    build.add_metric([*versions.values()], 1)
    yield build
