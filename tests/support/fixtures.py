"""Types of fixtures."""

from collections.abc import Callable

import lab

StartProxy = Callable[..., lab.Server]
"""`start_proxy(upstream_url, external=..., options=..., env=..., section={...})`"""

UseRules = Callable[[str], None]
"""`use_rules(text)` configures the addons with the text of a rules file."""
