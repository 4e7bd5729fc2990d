"""Types of fixtures."""

from collections.abc import Callable

import lab

StartProxy = Callable[..., lab.Server]
"""`start_proxy(upstream_url, external=..., options=..., env=..., section={...})`"""
