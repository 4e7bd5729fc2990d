#!/usr/bin/env bash
# Makes .run/playwright, for tests and screenshots that use a browser, and prints the folder. The
# browser itself comes from Debian (see setup-server.sh), not from Playwright's downloads.
#
#   scripts/setup-browser.sh playwright
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
source "$root/scripts/lib.sh"

install_tool playwright==1.65.2 pillow==13.0.0
echo "$root/.run/playwright"
