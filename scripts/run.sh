#!/usr/bin/env bash
# Runs the proxy.
#
#   scripts/run.sh                          with an embedded registry, for a first look
#   scripts/run.sh --demo                   a demo with a real MLflow client, then exits
#   scripts/run.sh --upstream URL           production: mitmdump in front of your registry
#
#   --listen HOST:PORT                      default 127.0.0.1:8080
#   --web                                   mitmweb in place of mitmdump
#   --workers N                             with --upstream: N processes of it behind HAProxy
#   -- OPTIONS...                           further options of mitmdump, such as --set or --certs
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
source "$root/scripts/install/lib.sh"

usage() { sed -n '2,/^set/{s/^# \{0,1\}//;/^set/!p}' "${BASH_SOURCE[0]}" >&2; exit "$1"; }
value() { [[ -n $3 ]] || { say "$1: expected $2"; exit 2; }; }

upstream= listen=127.0.0.1:8080 web=() workers= demo=()
while (($#)); do
    case $1 in
        --upstream) value "$1" "a URL" "${2:-}"; upstream=$2; shift 2 ;;
        --listen) value "$1" HOST:PORT "${2:-}"; listen=$2; shift 2 ;;
        --web) web=(--web); shift ;;
        --workers) value "$1" "a number" "${2:-}"; workers=$2; shift 2 ;;
        --demo) demo=(--demo); shift ;;
        --) shift; break ;;
        -h | --help) usage 0 ;;
        *) say "unknown option: $1"; usage 2 ;;
    esac
done
[[ $listen =~ ^(.*):([0-9]+)$ ]] || { say "--listen: '$listen': expected HOST:PORT"; exit 2; }
[[ -z $workers || -n $upstream ]] || { say "--workers needs --upstream"; exit 2; }

"$root/scripts/setup.sh"

if [[ -z $upstream ]]; then
    "$root/scripts/install/mlflow.sh" 3 >/dev/null
    exec "$root/.venv/bin/python" "$root/scripts/demo/embedded.py" \
        --listen "$listen" "${demo[@]}" "${web[@]}" -- "$@"
fi

export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
several=()
if [[ -n $workers ]]; then
    haproxy=$("$root/scripts/install/server.sh" haproxy)
    export PATH=$PATH:${haproxy%/*}
    several=(--workers "$workers")
fi
exec "$root/.venv/bin/python" -m addon.cli run \
    --upstream "$upstream" --listen "$listen" "${web[@]}" "${several[@]}" -- "$@"
