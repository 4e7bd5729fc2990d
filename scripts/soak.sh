#!/usr/bin/env bash
# Puts load on real servers (MLflow, nginx as the external registry, two proxies behind HAProxy),
# injects faults, and counts lost and wrong answers. Exits with 1 if any of them must not happen.
#
#   scripts/soak.sh [MINUTES]                       one fault after the other, in turn (default: 5)
#   scripts/soak.sh pods [MINUTES]                  the same with pods of the Deployment, as root
#   scripts/soak.sh memory [REQUESTS] [GIB]         one proxy, whose memory must not grow
#                                                   (default: 200000 requests, 50 GiB; 15 minutes)
#   scripts/soak.sh limits [SHARE]                  one proxy, whose limits are filled; prints its
#                                                   memory against that of the Kubernetes manifest
#                                                   (default: 1, all of the limits; 5 minutes)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/setup.sh
if [[ ${1:-} == memory || ${1:-} == limits ]]; then
    exec .venv/bin/python "scripts/soak/$1.py" "${@:2}"
fi
scripts/install/mlflow.sh 3 >/dev/null
if [[ ${1:-} == pods ]]; then
    exec .venv/bin/python scripts/soak/pods.py "${@:2}"
fi
exec .venv/bin/python scripts/soak/main.py "$@"
