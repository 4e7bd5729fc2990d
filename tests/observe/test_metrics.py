"""Counts ended requests in a limited number of series."""

from __future__ import annotations

import platform
from itertools import product
from typing import Any

import pytest
from mitmproxy import version
from prometheus_client.parser import text_string_to_metric_families

from addon import __version__
from addon.observe import metrics
from addon.observe.measured import Ended, State
from addon.observe.metrics import Metrics

STATE = State(
    in_flight=3,
    flows_limit=1000,
    draining=False,
    rules_current=True,
    rules_read=1790000000.5,
    reloads={"success": 2, "failure": 1},
    readiness={},
    client_connections=5,
    clients_limit=10_000,
    held=2**20,
    held_limit=2**28,
    upstream_connections=4,
)
ENDED = Ended(
    start=1790000000.0,
    head=1790000000.02,
    end=1790000002.0,
    request_id="id-1",
    client="::1",
    method="GET",
    path="/a",
    sent_path="/b",
    rule="r",
    upstream_status=200,
    status=200,
    error_source=None,
    converted="",
    probe=False,
    bytes_in=0,
    bytes_out=7,
    family="tracking",
    why="",
)


def samples(counted: Metrics) -> dict[str, float]:
    """Return the samples that are not 0, by name without the prefix and by labels."""
    return {
        f"{s.name.removeprefix(metrics.PREFIX)}{[*s.labels.values()] if s.labels else ''}": s.value
        for family in text_string_to_metric_families(counted.page().decode())
        for s in family.samples
        if s.value and s.name.startswith(metrics.PREFIX) and "le" not in s.labels
    }


def counted(*ended: Ended, state: State = STATE) -> dict[str, float]:
    """Return the samples that these requests change on a fresh proxy."""
    fresh = Metrics(lambda: state)
    before = samples(Metrics(lambda: STATE))
    for one in ended:
        fresh.count(one)
    return {name: value for name, value in samples(fresh).items() if before.get(name) != value}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (
            {},
            {
                "requests_total['tracking', 'GET', 'none', '2xx']": 1,
                "responses_total['200']": 1,
                "request_duration_seconds_count['tracking']": 1,
                "request_duration_seconds_sum['tracking']": 2,
                "first_byte_seconds_count['tracking']": 1,
                "first_byte_seconds_sum['tracking']": pytest.approx(0.02),
                "response_body_bytes_total['tracking']": 7,
            },
        ),
        (
            # A client that has gone, and a clock that was set back.
            {"head": None, "end": 1.0, "status": None, "error_source": "client"}
            | {"method": "PUT", "family": "artifacts", "bytes_in": 9, "bytes_out": 0},
            {
                "requests_total['artifacts', 'PUT', 'client', 'none']": 1,
                "responses_total['none']": 1,
                "request_duration_seconds_count['artifacts']": 1,
                "request_body_bytes_total['artifacts']": 9,
            },
        ),
        (
            {"start": 1.0, "head": 1.0, "end": 1.0, "bytes_out": 0, "family": "registry"}
            | {"status": 599, "method": "(other method)", "error_source": "upstream"},
            {
                "requests_total['registry', 'other', 'upstream', 'other']": 1,
                "responses_total['other']": 1,
                "request_duration_seconds_count['registry']": 1,
                "first_byte_seconds_count['registry']": 1,
            },
        ),
    ],
)
def test_count(values: dict[str, Any], expected: dict[str, float]) -> None:
    """Each request is counted in the right series."""
    assert counted(ENDED._replace(**values)) == expected


def test_several() -> None:
    """The counts of several requests add up."""
    got = counted(ENDED, ENDED._replace(method="PUT"), ENDED._replace(status=201))
    assert got["response_body_bytes_total['tracking']"] == 21
    assert (got["responses_total['200']"], got["responses_total['201']"]) == (2, 1)
    assert got["request_duration_seconds_sum['tracking']"] == 6


@pytest.mark.parametrize(
    ("seconds", "limit"),
    [(0, 0.005), (0.0050, 0.005), (0.0051, 0.01), (600, 600), (601, float("inf"))],
)
def test_buckets(seconds: float, limit: float) -> None:
    """A limit belongs to its bucket, and each bucket includes those before it."""
    fresh = Metrics(lambda: STATE)
    fresh.count(ENDED._replace(start=0.0, end=seconds))
    (family,) = (
        family
        for family in text_string_to_metric_families(fresh.page().decode())
        if family.name.endswith("request_duration_seconds")
    )
    buckets = {
        float(sample.labels["le"]): sample.value
        for sample in family.samples
        if sample.labels["family"] == "tracking" and "le" in sample.labels
    }
    assert buckets == {each: each >= limit for each in (*metrics.SECONDS, float("inf"))}


def test_the_process() -> None:
    """The page shows the versions and the memory of the process."""
    page = Metrics(lambda: STATE).page().decode()
    labels = f'mitmproxy="{version.VERSION}",python="{platform.python_version()}"'
    assert f'mlflow_proxy_build_info{{{labels},version="{__version__}"}} 1.0' in page
    assert "\nprocess_resident_memory_bytes " in page


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"why": "artifacts_disabled"}, {"refused_total['artifacts_disabled']"}),
        ({"why": "dns_error"}, {"upstream_failures_total['dns_error']"}),
        ({"why": "dns_error", "family": "health"}, set()),
        ({"why": "internal_error", "family": "health"}, {"refused_total['internal_error']"}),
        ({"converted": "login_page"}, {"converted_total['login_page']"}),
    ],
)
def test_reasons(values: dict[str, Any], expected: set[str]) -> None:
    """A failed health check is not a failed request, but an exception is always counted."""
    got = counted(ENDED._replace(**values))
    kinds = ("refused", "upstream_failures", "converted")
    assert {name for name in got if name.startswith(kinds)} == expected


def test_state() -> None:
    """The page shows the proxy's current state."""
    got = samples(Metrics(lambda: STATE))
    assert got["requests_in_flight"] == 3
    assert got["requests_in_flight_limit"] == 1000
    assert (got["client_connections"], got["upstream_connections"]) == (5, 4)
    assert got["rules_current"] == 1
    assert got["rules_read_timestamp_seconds"] == 1790000000.5
    assert (got["rules_reloads_total['success']"], got["rules_reloads_total['failure']"]) == (2, 1)
    assert not {"draining", "upstream_ready", "upstream_ready_timestamp_seconds"} & {*got}
    later = STATE._replace(draining=True, readiness={"": (1790000009.0, True)})
    assert counted(state=later) == {
        "draining": 1,
        "upstream_ready": 1,
        "upstream_ready_timestamp_seconds": 1790000009.0,
    }


def test_mounts() -> None:
    """Requests for a mount's own registry have a label; without any, no series has it."""
    own = ENDED._replace(mount="/team-a", bytes_in=5)
    failed = own._replace(status=502, error_source="proxy", why="dns_error")
    refused = own._replace(status=403, error_source="proxy", why="operation_refused")
    page = own._replace(status=401, error_source="upstream", converted="login_page")
    state = STATE._replace(readiness={"": (1.0, True), "/team-a": (2.0, True)})
    got = counted(ENDED, own, failed, refused, page, state=state)
    assert {name: value for name, value in got.items() if "/team-a" in name} == {
        "requests_total['tracking', 'GET', '/team-a', 'none', '2xx']": 1,
        "requests_total['tracking', 'GET', '/team-a', 'proxy', '4xx']": 1,
        "requests_total['tracking', 'GET', '/team-a', 'proxy', '5xx']": 1,
        "requests_total['tracking', 'GET', '/team-a', 'upstream', '4xx']": 1,
        **{f"responses_total['/team-a', '{status}']": 1 for status in (200, 401, 403, 502)},
        "first_byte_seconds_count['tracking', '/team-a']": 4,
        "first_byte_seconds_sum['tracking', '/team-a']": pytest.approx(0.08),
        "request_body_bytes_total['tracking', '/team-a']": 20,
        "response_body_bytes_total['tracking', '/team-a']": 28,
        "refused_total['/team-a', 'operation_refused']": 1,
        "converted_total['login_page', '/team-a']": 1,
        "upstream_failures_total['dns_error', '/team-a']": 1,
        "upstream_ready['/team-a']": 1,
        "upstream_ready_timestamp_seconds['/team-a']": 2,
    }
    assert got["request_duration_seconds_count['tracking']"] == 5
    # For Prometheus an empty label is none, so the series of other requests stay the same.
    assert got["requests_total['tracking', 'GET', '', 'none', '2xx']"] == 1
    assert got["first_byte_seconds_count['tracking', '']"] == 1
    assert got["upstream_ready['']"] == 1
    assert b"mount=" not in Metrics(lambda: STATE).page()


def test_series_are_bounded() -> None:
    """The number of series stays limited for all combinations of methods and statuses."""
    full = Metrics(lambda: STATE)
    methods = [None, "(other method)", *metrics.METHODS]
    for family, method, status, source in product(
        metrics.FAMILIES, methods, [None, *range(99, 600)], [None, "proxy", "upstream", "client"]
    ):
        full.count(ENDED._replace(family=family, method=method, status=status, error_source=source))
    lines = [line for line in full.page().splitlines() if not line.startswith(b"#")]
    assert len(lines) < 3000
