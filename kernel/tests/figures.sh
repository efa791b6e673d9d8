#!/usr/bin/env bash
# The figures of Zerrow on the module, in the virtual machine (make bench-kernel).
set -euo pipefail
export ZERROW_START_TIMEOUT_S=900 ZERROW_IMPORT_TIMEOUT_S=900
"$REPO/.venv/bin/python" "$REPO/bench/paper_table.py" "$@"
echo "OK figures"
