"""Lines of the access log, and writing them to files that may fail."""

import asyncio
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lab
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.waiting import eventually

from addon.observe import access_log, line_writer
from addon.observe.access_log import AccessLog
from addon.observe.measured import Ended

VALUES: dict[str, Any] = {
    "start": 1790000000.0444,
    "head": 1790000000.0567,
    "end": 1790000002.0,
    "request_id": "id-1",
    "client": "::1",
    "method": "GET",
    "path": "/mlflow/api/x",
    "sent_path": "/ajax-api/x",
    "rule": "rest-to-ajax",
    "upstream_status": 200,
    "status": 401,
    "error_source": "upstream",
    "converted": "html",
    "probe": False,
    "bytes_in": 0,
    "bytes_out": 2**40,
    "family": "tracking",
    "why": "",
}
UNSAID = ("start", "head", "end", "family", "why")
LINE = {
    "time": "2026-09-21T14:13:20.044Z",
    **{name: value for name, value in VALUES.items() if name not in UNSAID},
    "converted": True,
    "ttfb_ms": 12.3,
    "duration_ms": 1955.6,
}
NOTHING = dict.fromkeys(
    ("client", "method", "path", "sent_path", "rule", "upstream_status", "status", "error_source")
)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, {}),
        (NOTHING, NOTHING),
        (
            {"start": 1790000000},
            {"time": "2026-09-21T14:13:20.000Z", "ttfb_ms": 56.7} | {"duration_ms": 2000.0},
        ),
        ({"head": None}, {"ttfb_ms": None}),
        # A clock that was set back.
        ({"head": 1.0, "end": 1.0}, {"ttfb_ms": 0.0, "duration_ms": 0.0}),
        ({"path": "/a\udcff\u00e9"}, {"path": "/a\\xff\u00e9"}),
        ({"sent_path": "/\udcc3/\udce9"}, {"sent_path": "/\\xc3/\\xe9"}),
        ({"path": '/"\\\n\r\x00\x1b\u2028'}, {"path": '/"\\\n\r\x00\x1b\u2028'}),
    ],
)
def test_line(values: dict[str, Any], expected: dict[str, Any]) -> None:
    """A line has all fields in order."""
    assert list(json.loads(access_log.line(Ended(**VALUES | values))).items()) == list(
        (LINE | expected).items()
    )


def test_times_are_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times are in UTC, wherever the proxy runs."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        line = access_log.line(Ended(**VALUES | {"start": 1790000001.0}))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert json.loads(line)["time"] == "2026-09-21T14:13:21.000Z"


def test_standard_output(tmp_path: Path) -> None:
    """Standard output stays open for others."""
    code = (
        "import asyncio\n"
        "from addon.observe.access_log import AccessLog, STDOUT\n"
        "async def run():\n"
        "    log = AccessLog(STDOUT)\n"
        "    log.add('one'); log.flush(); log.add('two'); log.finish()\n"
        "asyncio.run(run()); print('three')"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(lab.ROOT)},
    )
    assert (run.stdout, run.stderr) == ("one\ntwo\nthree\n", "")


def test_files_are_closed(tmp_path: Path) -> None:
    """The log closes rotated files and the last one."""

    def files() -> int:
        return len([*Path("/proc/self/fd").iterdir()])

    async def run() -> None:
        before = files()
        log = AccessLog(str(tmp_path / "log"))
        log.add("one")
        flushed(log)
        create(tmp_path / "log")
        log.add("two")
        log.finish()
        AccessLog(str(tmp_path / "log")).close()
        eventually(lambda: files() == before)

    asyncio.run(run())


@given(st.binary())
def test_any_path(path: bytes) -> None:
    """Whatever bytes a path has, the line is ASCII and JSON that every reader accepts."""
    line = access_log.line(Ended(**VALUES | {"path": path.decode("utf-8", "surrogateescape")}))
    assert line.isascii()
    assert line.isprintable()
    json.loads(line)["path"].encode("utf-8")


def flushed(log: AccessLog) -> None:
    log.flush()
    assert log._writer.wait(30) == 0


def written(path: Path) -> list[str]:
    return path.read_text(encoding="ascii").splitlines()


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make lines wait for only a hundredth of a second."""
    monkeypatch.setattr(access_log, "WAIT", 0.01)


def test_lines_are_written_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines wait for each other unless there are many; at the end all are written."""
    path = tmp_path / "log"
    path.write_text("old\n")
    monkeypatch.setattr(access_log, "WAIT", 3600)

    async def run() -> None:
        log = AccessLog(str(path))
        log.add("one")
        await asyncio.sleep(0.05)
        assert written(path) == ["old"]
        log.add("x" * access_log.MANY)
        eventually(lambda: written(path) == ["old", "one", "x" * access_log.MANY])
        log.add("last")
        log.finish()

    asyncio.run(run())
    assert written(path)[3:] == ["last"]
    assert path.stat().st_mode & 0o007 == 0o004  # The file keeps its mode.


@pytest.mark.usefixtures("quickly")
def test_a_quiet_proxy(tmp_path: Path) -> None:
    """A line does not wait for the next one."""

    async def run() -> None:
        log = AccessLog(str(tmp_path / "log"))
        for line in ("one", "two"):
            log.add(line)
            async with asyncio.timeout(30):
                while written(tmp_path / "log")[-1:] != [line]:
                    await asyncio.sleep(0.01)
        log.close()

    asyncio.run(run())
    assert (tmp_path / "log").stat().st_mode & 0o777 & ~0o640 == 0


def create(path: Path) -> None:
    path.rename(path.with_suffix(".1"))
    path.touch()


def nocreate(path: Path) -> None:
    path.rename(path.with_suffix(".1"))


def copytruncate(path: Path) -> None:
    shutil.copy(path, path.with_suffix(".1"))
    os.truncate(path, 0)


@pytest.mark.parametrize("rotate", [create, nocreate, copytruncate])
def test_rotation(tmp_path: Path, rotate: Callable[[Path], None]) -> None:
    """After each of logrotate's kinds of rotation, no line is lost or written twice."""
    path = tmp_path / "log"

    async def run() -> None:
        log = AccessLog(str(path))
        log.add("one")
        flushed(log)
        rotate(path)
        log.add("two")
        flushed(log)
        assert written(path.with_suffix(".1")) == ["one"]
        assert written(path) == ["two"]
        log.close()

    asyncio.run(run())


def test_a_folder_that_is_gone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Lines wait until the missing folder is there again."""
    path = tmp_path / "folder" / "log"
    path.parent.mkdir()

    async def run() -> None:
        log = AccessLog(str(path))
        path.parent.rename(tmp_path / "moved")
        log.add("one")
        log.flush()
        eventually(lambda: bool(caplog.messages))
        path.parent.mkdir()
        log.finish()
        eventually(lambda: len(caplog.messages) == 2)

    asyncio.run(run())
    assert written(path) == ["one"]


def test_a_full_disk(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is reported once, and memory stays limited."""
    monkeypatch.setattr(line_writer, "MOST", 10)
    monkeypatch.setattr(line_writer, "PAUSE", 0.01)

    async def run() -> AccessLog:
        log = AccessLog("/dev/full")
        for _ in range(5):
            log.add("x" * 6)
            log.flush()
            eventually(lambda: bool(caplog.messages))
        log.finish()
        return log

    log = asyncio.run(run())
    assert caplog.messages == [
        "access log: /dev/full: No space left on device",
        "access log: /dev/full: the last 14 bytes are lost",
    ]
    assert log._writer._lost == 3


def test_a_pipe_without_a_reader(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe without a reader cannot be opened; a reader that comes back gets all lines."""
    monkeypatch.setattr(line_writer, "PAUSE", 0.01)
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(OSError, match="No such device"):
        AccessLog(str(path))

    async def run() -> bytes:
        os.close(start_to_read(path))
        reader = start_to_read(path)
        log = AccessLog(str(path))
        os.close(reader)
        log.add("one")
        log.flush()
        eventually(lambda: bool(caplog.messages))
        reader = start_to_read(path)
        log.add("two")
        log.finish()
        data = os.read(reader, 2**16)
        os.close(reader)
        return data

    assert asyncio.run(run()) == b"one\ntwo\n"
    eventually(lambda: len(caplog.messages) == 2)
    assert caplog.messages == [
        f"access log: {path}: Broken pipe",
        f"access log: {path}: written again; 0 line(s) are lost",
    ]


def start_to_read(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK)


def test_a_reader_that_pauses(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A reader that pauses blocks nothing: lines beyond the buffer are counted as lost."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    lines = [f"{number:01000}" for number in range(3000)]

    async def run() -> list[str]:
        reader = start_to_read(path)
        log = AccessLog(str(path))
        for line in lines[:-1]:
            log.add(line)
        log.flush()
        assert caplog.messages == [f"access log: {path}: it is not read, and lines are lost"]
        os.set_blocking(reader, True)
        data = b""
        while log._writer.wait(0):
            # In between, the last part may have been written, and nothing more comes.
            if select.select([reader], [], [], 0.01)[0]:
                data += os.read(reader, 2**16)
        eventually(lambda: len(caplog.messages) == 2)
        log.add(lines[-1])
        log.close()
        while portion := os.read(reader, 2**16):
            data += portion
        os.close(reader)
        return data.decode("ascii").splitlines()

    got = asyncio.run(run())
    assert got == [*lines[: len(got) - 1], lines[-1]]
    lost = len(lines) - len(got)
    assert lost > 1000
    assert caplog.messages[1:] == [f"access log: {path}: written again; {lost} line(s) are lost"]
