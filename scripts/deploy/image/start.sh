#!/bin/sh
# Starts mitmdump in place of this shell, so that signals reach it. The environment variable UPSTREAM
# is the URL of the registry; the arguments are further options of mitmdump.
#
# Without a mode, mitmdump would be an open forward proxy.
[ -n "$UPSTREAM$*" ] || set -- --help
# mitmdump's own message would repeat the password.
case $UPSTREAM in *@*) echo "UPSTREAM: expected a URL without user and password" >&2; exit 1 ;; esac
# confdir, for its certificates, is the only folder that it writes to. mitmdump accepts each option
# only once: for other values of these three, run it yourself (`--entrypoint`).
exec /opt/venv/bin/mitmdump ${UPSTREAM:+--mode "reverse:$UPSTREAM"} \
    -s /opt/mlflow-proxy/addon/main.py \
    --set confdir=/tmp/mitmproxy --set flow_detail=0 --set termlog_verbosity=warn "$@"
