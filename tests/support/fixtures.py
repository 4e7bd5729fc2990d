"""Types of fixtures."""

from collections.abc import Callable

import stack

StartProxy = Callable[..., stack.Server]
"""`start_proxy(upstream_url, external=..., options=..., env=..., section={...})`"""
