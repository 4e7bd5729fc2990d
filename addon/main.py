"""Entry point: `mitmdump -s addon/main.py`, from any working directory."""

import sys
from importlib import import_module
from pathlib import Path

# mitmproxy leaves the folder of a script at the front of sys.path, where its files could hide
# modules of the same name. The package is imported from its parent instead, by the name that it has
# there: `addon` in a checkout, `mlflow_proxy` where it is installed.
_here = Path(__file__).resolve().parent
sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != _here]
if str(_here.parent) not in sys.path:
    sys.path.insert(0, str(_here.parent))

addons = import_module(f"{_here.name}.start").addons()
