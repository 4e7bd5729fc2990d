"""What is checked before the proxy serves."""

from __future__ import annotations

import subprocess
import sys
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


def test_mitmdump_does_not_load_mitmweb() -> None:
    """The check of mitmproxy at start leaves out what only mitmweb has."""
    code = (
        "import sys; from mitmproxy.test import taddons; from addon.hooks.process import Setup;"
        "taddons.context().master.addons.add(Setup());"
        "sys.exit('mitmproxy.tools.web.app' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)
