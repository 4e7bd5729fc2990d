"""The access log and the metrics, switched on and off."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import lab
import pytest
from support.waiting import eventually

from addon.observe.measured import Ended, State
from addon.observe.reports import Reports

STATE = State(0, 0, False, True, 0.0, {}, {}, 0, 0, 0, 0, 0)
VALUES: dict[str, Any] = {
    "start": 1.0,
    "head": 2.0,
    "end": 3.0,
    "request_id": "id-1",
    "client": "::1",
    "method": "GET",
    "path": "/x",
    "sent_path": "/x",
    "rule": None,
    "upstream_status": 200,
    "status": 200,
    "error_source": None,
    "converted": "",
    "probe": False,
    "bytes_in": 0,
    "bytes_out": 0,
    "family": "tracking",
    "why": "",
}


@pytest.fixture
def both() -> Reports:
    """Return reports with both switched off."""
    return Reports(lambda: STATE)


def ids(path: Path) -> list[str]:
    return [json.loads(line)["request_id"] for line in path.read_text().splitlines()]


def ended(request_id: str) -> Ended:
    return Ended(**VALUES | {"request_id": request_id})


def test_both_are_off(both: Reports) -> None:
    """With both off, a request causes no work, and reports are dropped."""
    assert not both.wanted
    both.add(ended("a"))
    both.count_refused("too_many_connections")
    both.close()


def test_another_file(both: Reports, tmp_path: Path) -> None:
    """A line goes to the file that was set when its request ended."""
    first, second = tmp_path / "first", tmp_path / "second"

    async def run() -> None:
        both.write_to(str(first))
        both.add(ended("a"))
        log = both._access_log
        both.write_to(str(first))
        assert both._access_log is log
        both.add(ended("b"))
        both.write_to(str(second))
        both.add(ended("c"))
        assert both.wanted
        both.write_to("")
        assert not both.wanted
        both.add(ended("d"))
        both.close()

    asyncio.run(run())
    # A thread writes the last lines of a closed file.
    eventually(lambda: (ids(first), ids(second)) == (["a", "b"], ["c"]))


def test_a_file_that_cannot_be_opened(both: Reports, tmp_path: Path) -> None:
    """If a file cannot be opened, the old one stays, and the message says why."""
    path = tmp_path / "log"

    async def run() -> None:
        both.write_to(str(path))
        with pytest.raises(ValueError, match="Is a directory"):
            both.write_to(str(tmp_path))
        both.add(ended("a"))
        both.close()

    asyncio.run(run())
    assert ids(path) == ["a"]


def page(both: Reports) -> str:
    assert both._metrics is not None
    return both._metrics.page().decode()


def test_the_same_counters_at_another_address(both: Reports) -> None:
    """Counters keep their values at another address: a fall to 0 would look like a restart."""

    async def run() -> None:
        both.listen_on(str(lab.free_port()))
        both.add(ended("a"))
        both.count_refused("too_many_connections")
        both.listen_on(str(lab.free_port()))

    asyncio.run(run())
    counted = [line for line in page(both).splitlines() if line.endswith(" 1.0")]
    assert any("tracking" in line for line in counted)
    assert any("too_many_connections" in line for line in counted)
    both.close()


def test_an_address_in_use(both: Reports) -> None:
    """If the address is in use, the metrics stay off, and the message says why."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match="Address already in use"):
            both.listen_on(str(port))
    assert not both.wanted


@pytest.mark.parametrize(
    ("address", "why"),
    [("192.0.2.1:9", "Cannot assign requested address"), ("no.such.invalid:9", "")],
)
def test_an_address_of_another_machine(both: Reports, address: str, why: str) -> None:
    """The message says why, and does not repeat the address."""
    with pytest.raises(ValueError, match=f"^{why}") as failed:
        both.listen_on(address)
    assert address.partition(":")[0] not in str(failed.value)
