#!/usr/bin/env bash
# Builds the wheel, which has the command `mlflow-proxy`, and prints its path.
#
#   scripts/install/wheel.sh [FOLDER]               default: dist
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
source "$root/scripts/install/lib.sh"

folder=$(mkdir -p "${1:-$root/dist}" && cd "${1:-$root/dist}" && pwd)
install_tool setuptools==84.2.1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# In a copy: setuptools builds beside the sources, and includes leftovers of an earlier build.
mkdir -p "$scratch/sources/scripts/install" "$scratch/wheel"
cp -R "$root"/{addon,pyproject.toml,README.md,LICENSE,rules.yaml} "$scratch/sources"
cp -R "$root"/scripts/deploy "$scratch/sources/scripts"
cp -R "$root"/scripts/install/locks "$scratch/sources/scripts/install"
working "Building the wheel ..." "$root/.run/setuptools/bin/python" -m pip wheel --quiet \
    --disable-pip-version-check --no-deps --no-index --no-build-isolation \
    --wheel-dir "$scratch/wheel" "$scratch/sources"
wheel=("$scratch"/wheel/*.whl)
mv -f "${wheel[0]}" "$folder/"
echo "$folder/${wheel[0]##*/}"
