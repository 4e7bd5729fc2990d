"""A mitmproxy script that takes the addon's work out of requests: its hooks do nothing any more."""

from __future__ import annotations

import sys


def running() -> None:
    """Replace them."""
    proxy = sys.modules["addon.proxy"].MlflowProxy
    for hook in ("requestheaders", "request", "responseheaders", "response"):
        assert hasattr(proxy, hook), hook
        setattr(proxy, hook, lambda self, flow: None)
