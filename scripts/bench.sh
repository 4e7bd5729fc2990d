#!/usr/bin/env bash
# Measures the proxy against nginx on this machine and prints ratios: scripts/bench.sh [--pairs N]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/setup.sh
exec .venv/bin/python scripts/bench/streaming.py "$@"
