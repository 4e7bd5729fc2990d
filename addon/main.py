"""Entry point: `mitmdump -s addon/main.py`, from any working directory."""

import sys
from importlib import import_module
from pathlib import Path

# mitmproxy leaves the folder of a script at the front of sys.path, where its files could hide
# modules of the same name. So the package is imported from its parent folder, by its name there:
# `addon` in a checkout, `mlflow_proxy` when installed.
_here = Path(__file__).resolve().parent
sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != _here]
if str(_here.parent) not in sys.path:
    sys.path.insert(0, str(_here.parent))

addons = import_module(f"{_here.name}.start").addons()
