"""The limit for connected clients."""

from __future__ import annotations

from typing import Any

import pytest

from addon.hooks import open_files
from addon.hooks.client_limit import ClientLimit
from addon.hooks.connected import Connected
from addon.rules.model import Limits


@pytest.mark.parametrize(
    ("limits", "files", "warned"),
    [
        *((Limits(), files, warned) for files, warned in ((20_000, False), (1_000, True))),
        *(
            (Limits(connections=9_999), n, warned)
            for n, warned in ((20_198, False), (20_000, True))
        ),
        (Limits(connections=100, flows=1_000), 500, False),
    ],
)
def test_warning_about_few_open_files(
    limits: Limits, files: int, warned: bool, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """A warning says if fewer clients fit than the rules ask for, or fewer than requests."""
    monkeypatch.setattr(open_files, "allowed", lambda: files)
    limit = ClientLimit(Connected())
    limit.use(limits)
    limit.use(limits)
    assert len(caplog.records) == warned
