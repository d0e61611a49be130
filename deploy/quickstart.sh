#!/bin/sh
# Millrace from nothing: installs packages, builds, and runs deploy/quickstart.py. What it is asked for is looked at
# before anything is installed, built or removed.
set -eu
cd "$(dirname "$0")/.."

usage() {
  cat <<'END'
Installs packages, builds, starts three brokers on loopback, loads the sample data, shows it, and leaves the cluster
running until Ctrl-C. Data of the last run is removed first.

  deploy/quickstart.sh          # and then try the commands that it prints
  deploy/quickstart.sh --once   # kills a leader in the middle of loading, verifies every row, and exits
  deploy/quickstart.sh --keep   # goes on with the data of the last run
END
}

case $#:${1-} in
  0: | 1:--once | 1:--keep) ;;
  1:--help | 1:-h)
    usage
    exit 0
    ;;
  *)
    echo "quickstart.sh: it takes nothing, or one of --once, --keep and --help; given: $*" >&2
    usage >&2
    exit 2
    ;;
esac
deploy/install.sh build
exec python3 deploy/quickstart.py "$@"
