#!/usr/bin/env bash
# Runs the checks, then the tests with real servers, in three processes; with files in the options, in
# one. Installs dependencies below .venv and .run.
#
#   scripts/test.sh [--all-pythons | --all-lines] [PYTEST OPTIONS...]
#
# Unless files are named it leaves out the slow tests: pods, soak, demo, the servers of the examples.
# --all-pythons: these too, and all but these also with Python 3.11 (and so mitmproxy 11.0), if that
# Python is found; with mitmproxy 12.2 the tests that depend on mitmproxy's own code.
# --all-lines: with 12.2 all but the slow ones.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
source scripts/install/lib.sh

all=
case ${1:-} in --all-pythons | --all-lines) all=$1; shift ;; esac
quick=()
[[ $* == *tests/* ]] || quick=(-m "not slow")
scripts/check.sh
scripts/install/mlflow.sh 3 >/dev/null
scripts/install/mlflow.sh 2 >/dev/null
for server in nginx haproxy prometheus systemd-analyze; do scripts/install/server.sh "$server" >/dev/null; done
if [[ -n $all || $* == *tests/* ]]; then scripts/install/engine.sh >/dev/null || [[ $? == 3 ]]; fi
for tool in kubectl kubernetes-validate hadolint; do scripts/install/tool.sh "$tool" >/dev/null; done
command -v chromium >/dev/null || scripts/install/server.sh chromium-headless-shell >/dev/null

run_tests() {
    say "Testing with $("$1" -V) and $("$1" -c 'from mitmproxy import version; print(version.MITMPROXY)')"
    "$1" -m pytest "${@:2}"
}
if [[ -n $all ]]; then run_tests .venv/bin/python "$@"; else run_tests .venv/bin/python "${quick[@]}" "$@"; fi
if [[ -n $all ]]; then
    for python in $(find_pythons); do
        [[ $("$python" -c 'import sys; print(sys.version_info.minor)') == 11 ]] || continue
        PYTHON=$python VENV=$root/.run/python3.11 scripts/setup.sh --dev
        # The scripts always run with .venv.
        run_tests .run/python3.11/bin/python "${quick[@]}" \
            --ignore=tests/integration/test_{scripts,audit_command}.py "$@"
        break
    done
    if .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 12))'; then
        PYTHON=$(.venv/bin/python -c 'import os, sys; print(os.path.realpath(sys.executable))') \
            LOCK=mitmproxy-12.2-dev VENV=$root/.run/mitmproxy-12.2 scripts/setup.sh
        inner=()
        if [[ $all == --all-pythons && $# == 0 ]]; then
            inner=(tests/{engine,hooks,internals,mitmweb} tests/observe/test_log_guard.py
                tests/integration/test_{wire,lean,mitmweb,errors_over_the_wire,request_smuggling,around_the_switch,another_mitmproxy}.py)
        fi
        run_tests .run/mitmproxy-12.2/bin/python "${quick[@]}" "${inner[@]}" "$@"
    fi
fi
