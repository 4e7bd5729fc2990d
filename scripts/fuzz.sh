#!/usr/bin/env bash
# Tries random input: hostile request targets against real MLflow servers, and made-up answers of an
# upstream. The same seed gives the same targets.
#
#   scripts/fuzz.sh [SEED] [TARGETS]        default: a random seed, 100,000 targets (10 minutes)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/install/lib.sh

seed=${1:-$RANDOM}
scripts/setup.sh --dev
scripts/install/mlflow.sh 3 >/dev/null
say "Seed $seed"
FUZZ_SEED=$seed FUZZ_COUNT=${2:-100000} exec .venv/bin/python -m pytest \
    tests/integration/test_{hostile_targets,refused_operations,any_answer}.py \
    --hypothesis-profile long --hypothesis-seed "$seed"
