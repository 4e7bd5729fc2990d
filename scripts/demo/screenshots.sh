#!/usr/bin/env bash
# Makes the pictures of the manual, scripts/demo/screenshots/*.png, with a real registry, mitmweb and
# Chromium.
#
#   scripts/demo/screenshots.sh
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
source "$root/scripts/install/lib.sh"
"$root/scripts/setup.sh" --dev
"$root/scripts/install/mlflow.sh" 3 >/dev/null
install_tool pillow==13.0.0
"$root/.venv/bin/python" "$root/scripts/demo/screenshots.py"
# Fewer colours: a third of the size.
"$root/.run/pillow/bin/python" - "$root"/scripts/demo/screenshots/*.png <<'PYTHON'
import sys
from PIL import Image
for path in sys.argv[1:]:
    with Image.open(path) as image:
        smaller = image.convert("RGB").quantize(192)
    smaller.save(path, optimize=True)
PYTHON
