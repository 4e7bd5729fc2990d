#!/usr/bin/env bash
# Checks format, lint, types and the directions of imports. `scripts/check.sh --fix` formats and fixes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/setup.sh --dev
if [[ ${1:-} == --fix ]]; then
    .venv/bin/ruff format --quiet .
    .venv/bin/ruff check --quiet --fix --exit-zero .
    .venv/bin/ruff format --quiet .
fi
.venv/bin/ruff format --check --quiet . || { echo "unformatted files; run scripts/check.sh --fix" >&2; exit 1; }
.venv/bin/ruff check --quiet .
.venv/bin/mypy
imports=$(PYTHONPATH=scripts .venv/bin/lint-imports --no-cache 2>&1) || { echo "$imports" >&2; exit 1; }
for script in scripts/*.sh scripts/*/*.sh .ci/run; do bash -n "$script"; done
