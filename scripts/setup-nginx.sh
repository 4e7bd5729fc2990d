#!/usr/bin/env bash
# Prints the path of an nginx, for tests and benchmarks: the one on PATH, else one unpacked from
# the Debian package into .run/nginx, so that nothing is installed and no service is started.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
source "$root/scripts/lib.sh"

if found=$(PATH=$PATH:/usr/sbin command -v nginx); then
    echo "$found"
    exit
fi
binary=$root/.run/nginx/usr/sbin/nginx
fetch() {
    local packages
    packages=$(mktemp -d)
    (cd "$packages" && apt-get download nginx) || return 1
    mkdir -p "$root/.run/nginx"
    dpkg -x "$packages"/nginx_*.deb "$root/.run/nginx"
    rm -rf "$packages"
}
if [[ ! -x $binary ]]; then
    # A fresh machine has no package lists yet; updating them needs root.
    working "Fetching nginx ..." fetch ||
        { working "Updating the package lists ..." apt-get update && working "Fetching nginx ..." fetch; }
fi
echo "$binary"
