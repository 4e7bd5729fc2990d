"""What the guard keeps of mitmproxy's log lines and of exceptions."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
from mitmproxy.proxy import server

from addon.observe import log_guard


@pytest.fixture
def guarded() -> Iterator[None]:
    """Install the guard for one test."""
    before = logging.getLogRecordFactory()
    log_guard.install()
    yield
    logging.setLogRecordFactory(before)


def test_the_logger_is_still_there() -> None:
    """mitmproxy's layers still log through one logger with a known name."""
    assert server.logger.name == log_guard.CONNECTIONS


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("client connect", "client connect"),
        ("server connect x.example:443 (10.0.0.1:443)", None),
        ("error establishing server connection: [Errno 111] refused", None),
        ("Streaming response from x.example.", None),
        ("Server TLS handshake failed. The remote server does not speak TLS.", None),
        ("Swallowing HTTP/2 informational response: 103 Early Hints", None),
        ("Unexpected data from server: b'secret'", "Unexpected data from server [...]"),
        ("10.0.0.1:7: Bad HTTP request line: b'secret'", "10.0.0.1:7: Bad HTTP request line [...]"),
        ("[::1]:7: Invalid headers", None),
        ("10.0.0.1:7: Invalid header line: b'secret'", "10.0.0.1:7: Invalid header line [...]"),
        ("10.0.0.1:7: HTTP/2 protocol error: secret", "10.0.0.1:7: HTTP/2 protocol error [...]"),
        (
            "10.0.0.1:7: Invalid HTTP/2 response headers: secret",
            "10.0.0.1:7: Invalid HTTP/2 response headers [...]",
        ),
        ("Lowercased 'X-Secret' header as uppercase is not allowed", "Lowercased [...]"),
        # An unknown line might contain anything.
        ("secret: server connect", "mitmproxy reports something about a connection [...]"),
    ],
)
def test_shown(message: str, shown: str | None) -> None:
    """A line keeps only the part that is mitmproxy's own; None means the whole line."""
    assert log_guard.shown(message) == (shown or message)


def test_records(guarded: None, caplog: pytest.LogCaptureFixture) -> None:
    """Lines of other loggers and debug lines stay unchanged."""
    with caplog.at_level(logging.DEBUG):
        server.logger.info("Unexpected data from server: secret")
        server.logger.debug("half-closing")
        logging.getLogger("addon").info("answered %d", 503)
    assert caplog.messages == ["Unexpected data from server [...]", "half-closing", "answered 503"]


def test_exceptions(guarded: None, caplog: pytest.LogCaptureFixture) -> None:
    """An exception and its causes are shown with their places, but without their texts."""
    values = {"a": "secret"}
    try:
        try:
            int(values["a"])
        except ValueError as error:
            raise RuntimeError(values["a"]) from error
    except RuntimeError as error:
        logging.getLogger("addon").exception("failed: %s", error)
    text = caplog.text
    assert "failed: [...]\n" in text
    assert "RuntimeError\n" in text
    assert "ValueError\n" in text
    assert text.count('int(values["a"])') == 1
    assert "secret" not in text


class Fails:
    """An object whose text and truth value raise."""

    def __str__(self) -> str:
        raise ValueError("secret")

    __repr__ = __str__

    def __bool__(self) -> bool:
        raise ValueError("secret")


class FailsInMapping(dict[str, str]):
    """The same, for a mapping that logging itself tests."""

    __bool__ = Fails.__bool__


class FailsAsError(Exception):
    """The same, as an exception."""

    __str__ = Fails.__str__


def failed(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as raised:
        return raised


def its_own_cause() -> BaseException:
    error = failed(RuntimeError("secret"))
    error.__cause__ = error
    return error


LINE = r"a line that cannot be shown \(.*test_log_guard.py:\d+: (\w+)\)"


@pytest.mark.parametrize(
    ("arguments", "exc_info", "said"),
    [
        (("bad %d", "secret"), None, LINE),
        (("bad %d", "secret"), ValueError("secret"), LINE),
        (("bad %s %s", "secret"), None, LINE),
        (("bad", "secret"), None, LINE),
        (("bad %(a)s", {"b": "secret"}), None, LINE),
        (("bad %", "secret"), None, LINE),
        (("bad %s", Fails()), None, LINE),
        (("%s", FailsInMapping(a="secret")), None, LINE),
        ((Fails(),), None, LINE),
        (("bad",), failed(FailsAsError()), LINE),
        (("bad %s", FailsAsError()), None, LINE),
        (("bad",), ("secret",), LINE),
        (("bad",), (1, 2, 3), LINE),
        (("bad",), True, "bad"),  # There is no exception.
        (("bad",), its_own_cause(), r"bad\n.*RuntimeError"),
        (
            ("bad %r", ValueError("secret\n'\"")),
            failed(ValueError("secret\n'\"")),
            r"bad .*ValueError",
        ),
        (("bad %s", "secret"), failed(ValueError("secret", 1)), r"bad \[\.\.\.\]\n.*ValueError"),
        ((100,), None, "100"),
    ],
)
@pytest.mark.parametrize("name", [log_guard.CONNECTIONS, "addon"])
def test_lines_that_cannot_be_shown(
    guarded: None,
    caplog: pytest.LogCaptureFixture,
    arguments: tuple[Any, ...],
    exc_info: Any,
    said: str,
    name: str,
) -> None:
    """Logging never raises, and shows none of the values it was given."""
    logging.getLogger(name).error(*arguments, exc_info=exc_info)
    assert "secret" not in caplog.text
    (message,) = caplog.messages
    if name == "addon" or said is LINE:
        assert re.fullmatch(said, message, re.DOTALL)


def test_the_guard_is_installed_once(guarded: None) -> None:
    """A second installation, as by a reloaded script, changes nothing."""
    installed = logging.getLogRecordFactory()
    log_guard.install()
    assert logging.getLogRecordFactory() is installed
