#!/usr/bin/env bash
# Prints the path of a program for workers, tests and benchmarks: from PATH, otherwise unpacked from
# Debian packages into .run/, so that nothing is installed and no service is started.
#
#   scripts/install/server.sh nginx|haproxy|wrk|valgrind|vgdb|prometheus|promtool|systemd-analyze|
#                             chromium-headless-shell|apache2
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
source "$root/scripts/install/lib.sh"

name=${1:?usage: scripts/install/server.sh NAME}
if found=$(PATH=$PATH:/usr/sbin command -v "$name"); then
    echo "$found"
    exit
fi
packages=("$name") folder=$root/.run/$name
case $name in
    vgdb) packages=(valgrind) folder=$root/.run/valgrind ;;
    promtool) packages=(prometheus) folder=$root/.run/prometheus ;;
    systemd-analyze) packages=(systemd) folder=$root/.run/systemd ;;
    # For logins by OpenID Connect.
    apache2) packages+=(libapache2-mod-auth-openidc) ;;
    # mitmweb's markers are emoji.
    chromium-*) packages+=(fonts-liberation fonts-noto-color-emoji) ;;
esac

# The packages and dependencies that are not installed on this machine.
missing() { apt-get install --simulate --no-install-recommends "${packages[@]}" | awk '/^Inst / { print $2 }'; }

fetch() {
    local downloads names archive binary
    downloads=$(mktemp -d)
    mapfile -t names < <(missing)
    (cd "$downloads" && apt-get download "${names[@]}") || { rm -rf "$downloads"; return 1; }
    rm -rf "$folder"
    for archive in "$downloads"/*.deb; do dpkg -x "$archive" "$folder"; done
    rm -rf "$downloads"
    libraries=$folder/usr/lib/$(uname -m)-linux-gnu
    for binary in "$folder"/usr/{bin,sbin,lib/chromium}/*; do
        [[ -x $binary ]] || continue
        {
            echo '#!/bin/sh'
            echo "export LD_LIBRARY_PATH='$libraries:$libraries/pulseaudio:$libraries/systemd'"
            echo "export VALGRIND_LIB='$folder/usr/libexec/valgrind'"
            # For fonts besides those of the system.
            echo "export XDG_DATA_HOME='$folder/usr/share'"
            [[ -e /etc/fonts ]] || echo "export FONTCONFIG_PATH='$folder/etc/fonts'"
            echo "exec '$binary' \"\$@\""
        } >"$folder/${binary##*/}"
        chmod +x "$folder/${binary##*/}"
    done
}

if [[ ! -x $folder/$name ]]; then
    mkdir -p "$root/.run"
    # A fresh machine has no package lists yet; updating them needs root.
    working "Fetching $name ..." fetch ||
        { working "Updating the package lists ..." apt-get update && working "Fetching $name ..." fetch; } ||
        { say "$name cannot be fetched; install it, so that it is on PATH."; exit 1; }
fi
echo "$folder/$name"
