#!/usr/bin/env bash
# Makes .venv for the proxy. Quick if nothing has changed since the last time.
#
#   scripts/setup.sh              for running the proxy
#   scripts/setup.sh --dev        for tests and checks as well
#   PYTHON=/path/to/python3.12 VENV=/elsewhere scripts/setup.sh
#   LOCK=mitmproxy-12.2-dev VENV=/elsewhere scripts/setup.sh    another file of scripts/install/locks/
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
source "$root/scripts/install/lib.sh"

venv=${VENV:-$root/.venv}
locks=$root/scripts/install/locks
lock=$locks/${LOCK:-requirements}.lock
# An environment that has the developer's extras keeps them.
if [[ -z ${LOCK:-} && (${1:-} == --dev || $(made_from "$venv") == *-dev.lock*) ]]; then
    lock=$locks/requirements-dev.lock
fi
stamp="${lock##*/} $(cat "$locks/build.lock" "$lock" | cksum) ${PYTHON:-}"
if [[ $(made_from "$venv") == "$stamp" ]]; then exit 0; fi

# Every package needs a hash. A package without a wheel is built with the packages of build.lock:
# otherwise pip would fetch the newest setuptools for it, without a check.
install_locked() {
    pip_install "$venv" --require-hashes -r "$locks/build.lock"
    pip_install "$venv" --require-hashes --no-build-isolation -r "$lock"
}

python=${PYTHON:-$(find_python)}
working "Setting up ${venv#"$root"/} with $("$python" -V) ($python) ..." \
    make_venv "$venv" "$python" "$stamp" install_locked
version=$("$venv/bin/mitmdump" --version)
say "Ready: ${version%%$'\n'*}"
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))'; then
    say "No Python >= 3.12 was found. This mitmproxy has known security problems in mitmweb" \
        "(CVE-2025-23217) and in HTTP/2 (CVE-2025-57804), which 12.x has fixed."
fi
