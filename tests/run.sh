#!/bin/sh
# Installs what tests need, builds, runs every test, and ends with `N passed, N failed, N skipped`.
#
#   tests/run.sh                    # the short form, which CI runs
#   tests/run.sh --long             # many more seeds in the simulators
#   tests/run.sh --only asan tsan   # some stages alone; --list names them
set -eu
cd "$(dirname "$0")/.."
deploy/install.sh
exec python3 tests/run.py "$@" </dev/null
