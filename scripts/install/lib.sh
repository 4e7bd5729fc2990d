# Shell functions that the scripts share. Source it; `root` is the project's folder.

say() { echo "$*" >&2; }

# working MESSAGE COMMAND...: shows progress of a long command, and its output only if it fails.
working() {
    local message=$1 log seconds=0 pid=
    shift
    log=$(mktemp)
    # Set before the job begins; otherwise a Ctrl-C in between is lost.
    trap '[[ -z $pid ]] || kill -TERM -- "-$pid" 2>/dev/null; rm -f "$log"; exit 130' INT TERM HUP
    # Its own process group: background jobs of bash ignore Ctrl-C, so we pass it on.
    set -m
    "$@" >"$log" 2>&1 &
    pid=$!
    set +m
    [[ -t 2 ]] || say "$message"
    while kill -0 "$pid" 2>/dev/null; do
        [[ -t 2 ]] && printf '\r%s %ds  %s\033[K' "$message" $((seconds / 5)) "$(newest_package "$log")" >&2
        seconds=$((seconds + 1))
        sleep 0.2
    done
    [[ -t 2 ]] && printf '\r%s %ds\033[K\n' "$message" $((seconds / 5)) >&2
    local failed=
    wait "$pid" || failed=yes
    trap - INT TERM HUP
    if [[ -n $failed ]]; then cat "$log" >&2; fi
    rm -f "$log"
    [[ -z $failed ]]
}

# newest_package LOG: the package that pip is busy with.
newest_package() { sed -n 's/^ *\(Collecting\|Building wheel for\) \([A-Za-z0-9._-]*\).*/\2/p' "$1" | tail -n 1; }

# All interpreters that work, newest first: python3.x on PATH, then those of pyenv and uv.
find_pythons() {
    local candidate
    for candidate in $(compgen -c python3 | grep -E '^python3(\.[0-9]+)?$' | sort -u) \
        "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[1-9]*/bin/python3 \
        "${UV_PYTHON_INSTALL_DIR:-$HOME/.local/share/uv/python}"/*/bin/python3; do
        candidate=$(command -v "$candidate") || continue
        # A shim of pyenv may exist and not work; venv needs ensurepip, which Debian splits off.
        "$candidate" -c 'if True:
            import ensurepip, os, sys, venv
            if (3, 11) <= sys.version_info < (3, 15) and sys.version_info.releaselevel == "final":
                print(sys.version_info.minor, sys.version_info.micro, os.path.realpath(sys.executable))
        ' 2>/dev/null || true
    done | sort -k1,1nr -k2,2nr | awk '!seen[$3]++ { print $3 }'
}

find_python() {
    local found
    found=$(find_pythons | head -n 1)
    if [[ -z $found ]]; then
        say "No Python >= 3.11 with venv was found. Install one, such as Debian's python3 and python3-venv."
        return 1
    fi
    echo "$found"
}

# make_venv FOLDER PYTHON STAMP COMMAND...: makes a virtual environment, which the command fills. Only
# a complete one gets the stamp. Of two at the same time, the second waits for the first.
make_venv() (
    venv=$1 python=$2 stamp=$3
    shift 3
    mkdir -p "$venv"
    # A lock on the folder itself: a checkout may reach it by a link. macOS has no flock.
    if command -v flock >/dev/null; then
        exec 9<"$venv"
        flock 9
        if [[ $(made_from "$venv") == "$stamp" ]]; then exit; fi
    fi
    # The stamp comes last: an interrupted installation must not look complete.
    rm -f "$venv/.made-from"
    "$python" -m venv --clear "$venv"
    "$@"
    printf '%s\n' "$stamp" >"$venv/.made-from"
)

# pip_install FOLDER PIP-ARGUMENTS...
pip_install() {
    "$1/bin/python" -m pip install --disable-pip-version-check --no-input "${@:2}"
}

# install_tool NAME==VERSION [PACKAGE==VERSION...]: makes an environment for a tool and its packages in
# .run/NAME.
install_tool() {
    local venv=$root/.run/${1%%=*} python
    if [[ $(made_from "$venv") == "$*" ]]; then return; fi
    python=$(find_python)
    mkdir -p "$root/.run"
    working "Installing $* into ${venv#"$root"/} ..." \
        make_venv "$venv" "$python" "$*" pip_install "$venv" "$@"
}

made_from() { cat "$1/.made-from" 2>/dev/null; }
