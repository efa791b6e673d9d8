#!/usr/bin/env bash
# Runs the commands of README's fenced `sh` blocks, in order, in one shell, except `make test`
# (which the CI has just run).
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
awk '/^```sh$/ {inside = 1; next} /^```/ {inside = 0} inside' README.md |
  grep -v '^make test' | bash -euxo pipefail
