#!/usr/bin/env bash
# Makes the files in scripts/install/locks/ from pyproject.toml: every package with its version and
# hashes, for all Pythons at once. Without new versions it changes nothing.
#
#   scripts/install/lock.sh                           takes the newest versions in the ranges
#   scripts/install/lock.sh --upgrade-package NAME    takes the newest NAME; the others stay if they can
#
# build.lock               builds a package without a wheel: pyperclip 1.9.0, for Python 3.11
# requirements.lock        runs the proxy
# requirements-dev.lock    the same, and tools for tests
# mitmproxy-12.2-dev.lock  the same with mitmproxy 12.2, from Python 3.12 on
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
source "$root/scripts/install/lib.sh"
cd "$root"

# uv reads its own settings, not pip's: UV_DEFAULT_INDEX sets your own package index.
install_tool uv==0.13.9
changes=("${@:---upgrade}")
compile() {
    .run/uv/bin/uv pip compile --quiet --universal \
        --python .run/uv/bin/python --generate-hashes --no-emit-index-url --no-emit-find-links \
        --annotation-style line --custom-compile-command scripts/install/lock.sh "${changes[@]}" "$@"
}

locks=scripts/install/locks
mkdir -p "$locks"
compile - --python-version 3.11 --output-file "$locks/build.lock" <<<"setuptools ; python_version < '3.12'"
compile pyproject.toml --python-version 3.11 --output-file "$locks/requirements.lock"
compile pyproject.toml --python-version 3.11 --extra dev --constraints "$locks/requirements.lock" \
    --output-file "$locks/requirements-dev.lock"
compile pyproject.toml --python-version 3.12 --extra dev \
    --constraints <(echo "mitmproxy>=12.2,<12.3") --output-file "$locks/mitmproxy-12.2-dev.lock"
