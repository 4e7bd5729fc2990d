#!/usr/bin/env bash
# Makes .venv with what the proxy needs. Quick when nothing has changed since the last time.
#
#   scripts/setup.sh              for running the proxy
#   scripts/setup.sh --dev        for tests and checks as well
#   PYTHON=/path/to/python3.12 VENV=/elsewhere scripts/setup.sh
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
source "$root/scripts/lib.sh"

venv=${VENV:-$root/.venv}
extra=
# An environment that has the developer's extras keeps them.
if [[ ${1:-} == --dev || $(made_from "$venv") == *"[dev]"* ]]; then extra='[dev]'; fi
stamp="$root$extra $(cksum <"$root/pyproject.toml") ${PYTHON:-}"
if [[ $(made_from "$venv") == "$stamp" ]]; then exit 0; fi

python=${PYTHON:-$(find_python)}
working "Setting up ${venv#"$root"/} with $("$python" -V) ($python) ..." \
    make_venv "$venv" "$python" "$stamp" --editable "$root$extra"
say "Ready: $("$venv/bin/mitmdump" --version | head -n 1)"
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))'; then
    say "No Python >= 3.12 was found. This mitmproxy has known security problems in mitmweb" \
        "(CVE-2025-23217) and in HTTP/2 (CVE-2025-57804), which 12.x has mended."
fi
