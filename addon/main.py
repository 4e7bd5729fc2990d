"""Entry point: `mitmdump -s addon/main.py`, from any working directory."""

import sys
from pathlib import Path

# mitmproxy leaves the folder of a script at the front of sys.path, where its files could hide
# modules of the same name. The package is imported from its parent instead.
_here = Path(__file__).resolve().parent
sys.path[:] = [str(_here.parent), *(p for p in sys.path if Path(p or ".").resolve() != _here)]

from addon.proxy import MlflowProxy  # noqa: E402

addons = [MlflowProxy()]
