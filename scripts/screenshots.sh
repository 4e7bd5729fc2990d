#!/usr/bin/env bash
# Makes the pictures of the manual, scripts/screenshots/*.png, with a real registry, mitmweb and
# Chromium.
#
#   scripts/screenshots.sh
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
"$root/scripts/setup.sh"
"$root/scripts/setup-mlflow.sh" 3 >/dev/null
exec "$root/.venv/bin/python" "$root/scripts/screenshots.py"
