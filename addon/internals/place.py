"""What describes an undocumented place of mitmproxy, and what is lost if it has changed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Part(Enum):
    """What is lost if a place has changed; the value is for the log."""

    SAFETY = "refusals, limits or errors would not work"
    """Without it the proxy does not start; without any other part it serves with that part off."""
    LEAN = "small requests cost more, as without mlflow_lean"
    BYTES = "bytes pass through mitmproxy's own code, and large transfers are slower"
    OPTIONS = "an option that is set to its default counts as not set"
    OTHER_MODES = "connections in modes other than reverse, and by HTTP/3, count as busy"
    FLOWS = "mitmweb keeps all flows (mlflow_keep_flows)"
    PATHS = "mitmweb shows paths as they went upstream"
    LOG = "mitmproxy writes its log itself, and a slow reader blocks it"
    LOOP = "a process that is out of open files logs each attempt to accept a client"


@dataclass(frozen=True)
class Place:
    """A class, module or function, and its names in use.

    Args:
        owner: "module:name".
        names: attributes of it, or of its instances. `name` is anything, `name(one, two)` takes
            these arguments in this order and needs no others, `async name()` is also a coroutine
            function, and `name=text` is a text. A dataclass has only the fields of `__init__`.
        purpose: what it is used for.
        used_in: modules of the addon.
        part: what is lost otherwise.
        upstream: an issue or pull request that would make it unnecessary, or explains it.
        says: a text in the code of a function.
    """

    owner: str
    names: tuple[str, ...]
    purpose: str
    used_in: tuple[str, ...]
    part: Part = Part.SAFETY
    upstream: str = ""
    says: str = ""


ISSUES = "https://github.com/mitmproxy/mitmproxy/issues"
PULLS = "https://github.com/mitmproxy/mitmproxy/pull"
CUTS = f"{ISSUES}/3895 and {PULLS}/8378"
SERVER = "mitmproxy.proxy.server"
HTTP = "mitmproxy.proxy.layers.http"
