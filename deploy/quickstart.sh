#!/bin/sh
# Millrace from nothing: installs packages, builds, starts three brokers on loopback, loads the sample data,
# shows it, and leaves the cluster running until Ctrl-C.
#
#   deploy/quickstart.sh          # and then try the commands that it prints
#   deploy/quickstart.sh --once   # kills a leader in the middle of loading, verifies every row, and exits
#   deploy/quickstart.sh --keep   # goes on with the data of the last run
set -eu
cd "$(dirname "$0")/.."
deploy/install.sh
mkdir -p build
if ! { cmake --preset release && cmake --build --preset release --target millrace; } \
    >build/quickstart-build.log 2>&1 </dev/null; then
  tail -n 30 build/quickstart-build.log >&2
  echo "quickstart.sh: the build failed; all of it is in build/quickstart-build.log" >&2
  exit 1
fi
exec python3 deploy/quickstart.py "$@"
