#!/usr/bin/env bash
# Checks a registry through the proxy, as a client would. Exit code: 0 ok, 1 warning, 2 critical,
# 3 unknown. Credentials come from MLFLOW_TRACKING_TOKEN or MLFLOW_TRACKING_USERNAME/_PASSWORD.
#
#   scripts/probe.sh [URL] [--json] [--write] [--timeout SECONDS] [--rules FILE]
#   scripts/probe.sh --diagnose URL         detects the dialect of a registry itself
set -u
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [[ ! -x $root/.venv/bin/python ]]; then
    echo "unknown: run scripts/setup.sh first" >&2
    exit 3
fi
PYTHONPATH=$root exec "$root/.venv/bin/python" -m addon.cli probe "$@"
