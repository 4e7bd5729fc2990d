#!/usr/bin/env bash
# Prints a folder with `buildah` and `podman`, unpacked from Debian packages into .run/, with settings
# and a store of their own and the base image of scripts/deploy/Dockerfile in it: pulled, or made of
# Debian and the Python of this machine. Nothing is installed. Needs root.
#
#   scripts/install/engine.sh
#
# Exit code 3: no engine can run here; the last line says why.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
source "$root/scripts/install/lib.sh"

cannot() { say "no container engine: $*"; exit 3; }
[[ $(id -u) == 0 ]] || cannot "it needs root"
for program in apt-get dpkg perl; do
    command -v "$program" >/dev/null || cannot "it needs a Debian, which has $program"
done

mkdir -p "$root/.run/engine"
# podman refuses a store that it once knew by another path: .run may be a link.
folder=$(cd "$root/.run/engine" && pwd -P)
unpacked=$folder/unpacked
# Checkouts may share it.
exec 9>"$folder/.lock"
flock 9
# A cache that both programs make, whatever their settings say.
[[ -e /var/lib/containers ]] || trap 'rm -rf /var/lib/containers' EXIT
names=(buildah podman conmon runc catatonit slirp4netns golang-github-containers-image
    golang-github-containers-common mmdebstrap)

fetch() {
    local downloads archive libraries
    downloads=$(mktemp -d)
    # Also the libraries that this machine does not have.
    mapfile -t libraries < <(apt-get install --simulate --no-install-recommends "${names[@]}" |
        awk '/^Inst lib/ { print $2 }')
    (cd "$downloads" && apt-get download "${names[@]}" "${libraries[@]}") || return 1
    rm -rf "$unpacked"
    for archive in "$downloads"/*.deb; do dpkg -x "$archive" "$unpacked"; done
    rm -rf "$downloads"
}

# limit LETTER: a limit of the machine's own. One above it would be refused, as would one above the
# number of process ids, to which podman lowers its own limit of processes.
limit() {
    local ids
    ids=$(cat /proc/sys/kernel/pid_max)
    printf '%s\n' "$(ulimit "-H$1")" "$ids" | grep -v unlimited | sort -n | head -n 1
}

settings() {
    local programs=$unpacked/usr/bin name
    local environment=(
        "HOME=$folder/home"
        "CONTAINERS_CONF=$folder/containers.conf"
        "CONTAINERS_STORAGE_CONF=$folder/storage.conf"
        "CONTAINERS_REGISTRIES_CONF=$folder/registries.conf"
        "LD_LIBRARY_PATH=$unpacked/usr/lib/$(uname -m)-linux-gnu"
        "PATH=$programs:$unpacked/usr/sbin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    )
    mkdir -p "$folder/home/.config/containers" "$folder/networks"
    echo '{"default": [{"type": "insecureAcceptAnything"}]}' >"$folder/home/.config/containers/policy.json"
    echo 'unqualified-search-registries = ["docker.io"]' >"$folder/registries.conf"
    # runc: crun 1.8 refuses a machine with both versions of cgroups. Files: nothing stays in /dev/shm.
    cat >"$folder/containers.conf" <<END
[containers]
default_ulimits = ["nofile=$(limit n):$(limit n)", "nproc=$(limit u):$(limit u)"]
seccomp_profile = "$unpacked/usr/share/containers/seccomp.json"
init_path = "$programs/catatonit"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
tmp_dir = "$folder/tmp"
runtime = "runc"
conmon_path = ["$programs/conmon"]
conmon_env_vars = [$(printf '"%s", ' "${environment[@]}")]
helper_binaries_dir = ["$unpacked/usr/lib/podman", "$unpacked/usr/libexec/podman"]
network_cmd_path = "$programs/slirp4netns"
[engine.runtimes]
runc = ["$unpacked/usr/sbin/runc", "$programs/runc"]
[network]
network_config_dir = "$folder/networks"
END
    cat >"$folder/storage.conf" <<END
[storage]
driver = "$(cat "$folder/driver")"
graphroot = "$folder/images"
runroot = "$folder/run"
[storage.options.overlay]
skip_mount_home = "true"
END
    for name in buildah podman; do
        cat >"$folder/$name" <<END
#!/bin/sh
export $(printf "'%s' " "${environment[@]}")
exec '$programs/$name' "\$@"
END
        chmod +x "$folder/$name"
    done
}

# Layers on top of each other, or, where the kernel or the file system cannot do that, copies.
find_driver() {
    local trial
    trial=$(mktemp -d "$folder/XXXX")
    mkdir "$trial"/{lower,upper,work,merged}
    if mount -t overlay overlay "$trial/merged" \
        -o "lowerdir=$trial/lower,upperdir=$trial/upper,workdir=$trial/work" 2>/dev/null; then
        umount "$trial/merged"
        echo overlay
    else
        echo vfs
    fi
    rm -rf "$trial"
}

# The packages of this machine whose libraries a Python and its modules use; there is no display.
libraries_of() {
    find "$1" -name '*.so*' -not -name '_tkinter*' -type f -print0 | xargs -0 ldd "$1/bin/python3" 2>/dev/null |
        awk '$2 == "=>" && $3 ~ /^\// { sub(".*/", "", $3); print "*/" $3 }' | sort -u |
        xargs dpkg -S 2>/dev/null | sed 's/:.*//' | sort -u | paste -sd,
}

# make_base NAME: like the image of that name, which is Debian with a Python in /usr/local.
make_base() {
    local version=${1#*:} system python prefix
    version=${version%%-*}
    for python in $(find_pythons); do
        prefix=$("$python" -c 'import sys; print(sys.base_prefix)')
        [[ $prefix != /usr && -e $prefix/bin/python$version ]] && break
        prefix=
    done
    [[ -n $prefix ]] || { say "there is no Python $version to make $1 of"; return 1; }
    system=$(mktemp -d "$folder/XXXX")
    # Not what an interrupted mmdebstrap has mounted there.
    trap 'rm -rf --one-file-system "$system"' RETURN
    source /etc/os-release
    # Without waiting for the disk after each package.
    perl "$unpacked/usr/bin/mmdebstrap" --variant=essential --dpkgopt=force-unsafe-io \
        --include="ca-certificates,$(libraries_of "$prefix")" "$VERSION_CODENAME" "$system"
    rm -rf "$system"/usr/share/{doc,info,locale,man}/*
    tar -C "$prefix" --exclude=__pycache__ --exclude=site-packages --exclude=test --exclude=idlelib \
        --exclude=tkinter --exclude='*.a' --exclude=./include --exclude=./share -c . | tar -C "$system/usr/local" -x
    chroot "$system" ldconfig
    tar -C "$system" --exclude='./dev/*' -c . | "$folder/podman" import \
        -c 'ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin' -c 'CMD ["python3"]' \
        - "docker.io/library/$1"
}

if [[ ! -x $unpacked/usr/bin/podman ]]; then
    # A fresh machine has no package lists yet.
    working "Fetching buildah and podman ..." fetch ||
        { working "Updating the package lists ..." apt-get update && working "Fetching buildah and podman ..." fetch; } ||
        cannot "its packages cannot be had"
fi
[[ -e $folder/driver ]] || find_driver >"$folder/driver"
settings
mapfile -t bases < <(awk '$1 == "FROM" && $2 ~ /:/ { print $2 }' "$root/scripts/deploy/Dockerfile" | sort -u)
for base in "${bases[@]}"; do
    "$folder/podman" image exists "docker.io/library/$base" && continue
    timeout 300 "$folder/podman" pull --quiet "docker.io/library/$base" >/dev/null 2>&1 ||
        working "Making the image $base ..." make_base "$base" || cannot "its base image cannot be had"
done
# Layers of earlier builds; those of the last days make the next build quick.
"$folder/podman" image prune --force --filter until=72h >/dev/null
problem=$("$folder/podman" run --rm --network slirp4netns "docker.io/library/$base" true 2>&1) ||
    cannot "${problem##*$'\n'}"
echo "$folder"
