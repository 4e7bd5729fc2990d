#!/usr/bin/env bash
# Measures the proxy on this machine, side by side with other programs. Prints a table of ratios; all
# values and a plot go to .run/bench/ (of a quick run: to .run/bench/quick/).
#
#   scripts/bench.sh                    everything (30 minutes for each line)
#   scripts/bench.sh --line 11|12|all   11: Python 3.11 with mitmproxy 11; 12: that of .venv (default)
#   scripts/bench.sh --quick            less of everything, to check that it works (3 minutes)
#   scripts/bench.sh --only NAME...     some of: requests job transfers first-byte memory own-share
#                                       start rates growth clients fairness workers; other results
#                                       stay
#   --pairs N                           pairs of measurements for each ratio (default: 9)
#   --out FOLDER                        folder for bench.json and bench.png
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
source scripts/install/lib.sh

usage() { sed -n '2,/^set/{s/^# \{0,1\}//;/^set/!p}' "scripts/bench.sh" >&2; exit "$1"; }

line=12 out= quick= options=()
while (($#)); do
    case $1 in
        --line) line=${2:?--line needs 11, 12 or all}; shift 2 ;;
        --out) out=$(realpath -m "${2:?--out needs a folder}"); shift 2 ;;
        --quick) quick=/quick; options+=(--quick); shift ;;
        -h | --help) usage 0 ;;
        *) options+=("$1"); shift ;;
    esac
done
out=${out:-$root/.run/bench$quick}

pythons=()
case $line in 11 | 12 | all) ;; *) say "--line: '$line': expected 11, 12 or all"; exit 2 ;; esac
scripts/setup.sh
if [[ $line != 11 ]]; then pythons+=(.venv/bin/python); fi
if [[ $line != 12 ]]; then
    if [[ ! -x .run/python3.11/bin/mitmdump ]]; then
        for python in $(find_pythons); do
            [[ $("$python" -c 'import sys; print(sys.version_info.minor)') == 11 ]] || continue
            PYTHON=$python VENV=$root/.run/python3.11 scripts/setup.sh --dev
            break
        done
    fi
    [[ -x .run/python3.11/bin/mitmdump ]] || { say "No Python 3.11 was found."; exit 1; }
    pythons+=(.run/python3.11/bin/python)
fi
for server in nginx haproxy wrk valgrind vgdb; do scripts/install/server.sh "$server" >/dev/null; done
install_tool fastapi==0.165.0 httpx==0.28.1 uvicorn==0.54.0 uvloop==0.23.0 httptools==0.9.0
install_tool matplotlib==3.11.2
if [[ -z $quick ]]; then scripts/install/mlflow.sh 3 >/dev/null; fi

for python in "${pythons[@]}"; do
    "$python" scripts/bench/main.py --out "$out" "${options[@]}"
done
.run/matplotlib/bin/python scripts/bench/plot.py "$out/bench.json" "$out/bench.png"
.venv/bin/python scripts/bench/report.py "$out/bench.json"
say "All values: $out/bench.json; plot: $out/bench.png"
