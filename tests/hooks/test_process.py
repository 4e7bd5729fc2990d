"""What is checked before the proxy serves."""

from __future__ import annotations

from pathlib import Path

import certifi
import pytest
from mitmproxy import exceptions
from mitmproxy.test import taddons

from addon.hooks.process import TrustedFiles

CA, FOLDER = "ssl_verify_upstream_trusted_ca", "ssl_verify_upstream_trusted_confdir"


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        (CA, certifi.where(), None),
        (CA, "/no/such.pem", "No such file or directory"),
        (CA, str(Path(__file__)), "expected certificates (PEM)"),
        (CA, "/tmp", "Is a directory"),
        (FOLDER, "/tmp", None),
        (FOLDER, "/no/such", "expected a folder"),
    ],
)
def test_trusted_files(
    name: str, value: str, problem: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """A file without certificates ends the start; later the old value stays."""
    addon = TrustedFiles()
    with taddons.context(addon) as context:
        context.configure(addon, **{name: value})
        said = [record.getMessage() for record in caplog.records]
        assert said == ([f"{name}: {value}: {problem}"] if problem else [])
        if problem:
            context.configure(addon, **{name: None})
            addon.running()
            with pytest.raises(exceptions.OptionsError, match=f"^{name}: {value}: "):
                context.configure(addon, **{name: value})
            assert getattr(context.options, name) is None
