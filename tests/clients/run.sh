#!/bin/sh
# Runs real clients, in Python, Go, Node and Java and with grpcurl, against a real server. Makes a Python environment
# of its own on the first run. Clients whose tools are not on the machine are reported as skipped.
#
#   tests/clients/run.sh build/debug/bin/millrace [ENVIRONMENT_FOLDER] [pytest arguments...]
set -eu
[ $# -ge 1 ] || { echo "usage: $0 PATH_OF_millrace [ENVIRONMENT_FOLDER] [pytest arguments]" >&2; exit 2; }
binary=$(realpath "$1")
here=$(dirname "$(realpath "$0")")
environment=${2:-$here/../../build/clients-venv}
shift; [ $# -eq 0 ] || shift

# The mark holds what was installed, so that a change of a pin installs again.
if ! cmp -s "$here/requirements.txt" "$environment/installed.txt"; then
  python3 -m venv "$environment"
  "$environment/bin/pip" install -q --disable-pip-version-check -r "$here/requirements.txt"
  cp "$here/requirements.txt" "$environment/installed.txt"
fi
MILLRACE_BINARY=$binary exec "$environment/bin/python" -m pytest -q -rs -p no:cacheprovider "$here" "$@"
