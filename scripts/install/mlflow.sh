#!/usr/bin/env bash
# Makes .run/mlflow-3 (server and client) or .run/mlflow-2 (client only): real MLflow for the
# embedded registry and the tests. It cannot share an environment with mitmproxy (their pins of
# h11 exclude each other). Prints the folder.
#
#   scripts/install/mlflow.sh 3|2
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
source "$root/scripts/install/lib.sh"

case ${1:-} in
    # auth: what `mlflow server --app-name basic-auth` needs.
    3) packages=('mlflow[auth]>=3.10,<4') ;;
    # Only the client: a tenth of the size. A pyfunc model needs numpy and pandas.
    2) packages=('mlflow-skinny>=2.20,<3' 'numpy<3' 'pandas<4') ;;
    *) say "usage: scripts/install/mlflow.sh 3|2"; exit 2 ;;
esac
venv=$root/.run/mlflow-$1
stamp="${packages[*]}"
if [[ $(made_from "$venv") != "$stamp" ]]; then
    # MLflow supports new Pythons late: not newer than 3.13.
    python=$(find_pythons | grep -v 'python3\.14' | head -n 1)
    mkdir -p "$root/.run"
    working "Installing MLflow $1 into ${venv#"$root"/} ..." \
        make_venv "$venv" "${python:?no Python >= 3.11 found}" "$stamp" \
        pip_install "$venv" "${packages[@]}"
fi
echo "$venv"
