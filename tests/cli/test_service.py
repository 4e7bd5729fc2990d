"""The entry of the image and of the unit: from UPSTREAM to mitmdump."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator

import pytest
from mitmproxy.tools import main as mitmproxy

from addon.cli import addresses, run, service


@pytest.fixture(autouse=True)
def sigterm() -> Iterator[None]:
    """Restore the handler of SIGTERM."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """The path is the base path, as for `run`; SIGTERM has a handler before mitmdump's own."""
    started = []

    def mitmdump() -> None:
        started.append((list(sys.argv), callable(signal.getsignal(signal.SIGTERM))))

    monkeypatch.setattr(mitmproxy, "mitmdump", mitmdump)
    monkeypatch.setenv("UPSTREAM", "https://r.example/mlflow/")
    monkeypatch.setattr(sys, "argv", ["service.py", "--set", "x=y"])
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    service.main()
    upstream = addresses.Upstream("https://r.example", "/mlflow")
    expected = run.mitmproxy_arguments(upstream, ["--set", "x=y"])
    assert started == [(["mitmdump", *expected], True)]


@pytest.mark.parametrize(
    ("upstream", "said"),
    [
        ("https://user:secret@r.example", "expected a URL without user and password: "),
        ("https://r.example?token=secret", "'https://r.example': expected no more than a path "),
        ("", "'': expected a URL such as "),
        (None, "'': expected a URL such as "),
    ],
)
def test_an_upstream_that_is_refused(
    upstream: str | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line names the variable; without a registry mitmdump would be an open forward proxy."""
    if upstream is None:
        monkeypatch.delenv("UPSTREAM", raising=False)
    else:
        monkeypatch.setenv("UPSTREAM", upstream)
    with pytest.raises(SystemExit) as ended:
        service.main()
    assert str(ended.value.code).startswith(f"UPSTREAM: {said}")
    assert "secret" not in str(ended.value.code)
