#!/usr/bin/env bash
# Checks rules, and explains what they do to a request, without a running proxy; or makes running
# proxies read theirs again.
#
#   scripts/rules.sh check [FILE]           exit code 0 and one line, or 1 and all problems
#   scripts/rules.sh rules --effective [FILE]    each value in force, and where it comes from
#   scripts/rules.sh explain METHOD URL [--upstream HOST[:PORT]] [--rules FILE] [--json] ...
#   scripts/rules.sh reload [PID...]        exit code 0 if they took them, 1 if not, 2 if unknown
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
"$root/scripts/setup.sh"
PYTHONPATH=$root exec "$root/.venv/bin/python" -m addon.cli "$@"
