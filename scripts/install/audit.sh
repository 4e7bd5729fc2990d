#!/usr/bin/env bash
# Looks up every package that production installs in a database of known vulnerabilities. Exit code:
# 0 no findings, 1 findings, 2 not everything could be looked up.
#
#   scripts/install/audit.sh                          for each supported Python
#   scripts/install/audit.sh 3.12 3.13                for these
#   scripts/install/audit.sh [PYTHON...] -- OPTIONS   options of pip-audit, such as
#                                             --vulnerability-service osv or --ignore-vuln ID
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
source "$root/scripts/install/lib.sh"

# A failure before the audit must not look like a finding.
trap 'exit 2' EXIT
install_tool pip-audit==2.10.1
exec "$root/.run/pip-audit/bin/python" "$root/scripts/install/audit.py" "$@"
