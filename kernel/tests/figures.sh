#!/usr/bin/env bash
# figures.sh BENCH [OPTION...]: a bench of bench/*.py on the module, in the virtual machine.
set -euo pipefail
export ZERROW_START_TIMEOUT_S=900 ZERROW_IMPORT_TIMEOUT_S=900 ZERROW_EXIT_TIMEOUT_S=900
bench=$1
shift
"$REPO/.venv/bin/python" "$REPO/bench/$bench.py" "$@"
echo "OK figures"
