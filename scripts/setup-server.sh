#!/usr/bin/env bash
# Prints the path of a program for tests and benchmarks: the one on PATH, else one unpacked from Debian
# packages into .run/, so that nothing is installed and no service is started.
#
#   scripts/setup-server.sh nginx|haproxy|wrk|valgrind|vgdb|systemd-analyze
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
source "$root/scripts/lib.sh"

name=${1:?usage: scripts/setup-server.sh NAME}
if found=$(PATH=$PATH:/usr/sbin command -v "$name"); then
    echo "$found"
    exit
fi
package=$name
case $name in
    vgdb) package=valgrind ;;
    systemd-analyze) package=systemd ;;
esac
folder=$root/.run/$package
libraries=$folder/usr/lib/$(uname -m)-linux-gnu

# The package and those of its libraries that this machine lacks.
packages() {
    echo "$package"
    apt-cache depends --recurse --no-{recommends,suggests,conflicts,breaks,replaces,enhances} "$package" |
        grep -E '^lib[a-z0-9.+-]+$' | sort -u |
        while read -r library; do
            if ! dpkg-query -W -f '${Status}' "$library" 2>/dev/null | grep -q ' installed'; then
                # Virtual packages have no version.
                if apt-cache show "$library" >/dev/null 2>&1; then echo "$library"; fi
            fi
        done
}

fetch() {
    local downloads names archive binary
    downloads=$(mktemp -d)
    mapfile -t names < <(packages)
    (cd "$downloads" && apt-get download "${names[@]}") || return 1
    rm -rf "$folder"
    for archive in "$downloads"/*.deb; do dpkg -x "$archive" "$folder"; done
    rm -rf "$downloads"
    for binary in "$folder"/usr/{bin,sbin}/*; do
        [[ -x $binary ]] || continue
        {
            echo '#!/bin/sh'
            echo "export LD_LIBRARY_PATH='$libraries:$libraries/systemd'"
            echo "export VALGRIND_LIB='$folder/usr/libexec/valgrind'"
            echo "exec '$binary' \"\$@\""
        } >"$folder/${binary##*/}"
        chmod +x "$folder/${binary##*/}"
    done
}

if [[ ! -x $folder/$name ]]; then
    mkdir -p "$root/.run"
    # A fresh machine has no package lists yet; updating them needs root.
    working "Fetching $name ..." fetch ||
        { working "Updating the package lists ..." apt-get update && working "Fetching $name ..." fetch; }
fi
echo "$folder/$name"
