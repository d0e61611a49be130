#!/bin/sh
# Installs what deploy/packages.txt lists and the machine lacks. Quick and silent when all is there; else it
# needs root, as on a fresh Debian 12.
#
#   deploy/install.sh            # all: build, run and test
#   deploy/install.sh build      # what building takes
#   deploy/install.sh run        # what a built binary takes, on a machine that only runs it
set -eu
here=$(cd "$(dirname "$0")" && pwd)

[ $# -gt 0 ] || set -- build run test
for purpose in "$@"; do
  case $purpose in
    build | run | test) ;;
    *)
      echo "install.sh: \"$purpose\" is none of build, run and test" >&2
      exit 2
      ;;
  esac
done

missing=
while read -r purpose package command; do
  case " $* " in *" $purpose "*) ;; *) continue ;; esac
  [ -z "$command" ] || ! command -v "$command" >/dev/null || continue
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || status=
  [ "$status" = installed ] || missing="$missing $package"
done <"$here/packages.txt"
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
  echo "install.sh: run me as root, or install these first:$missing" >&2
  exit 1
fi
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
install() {
  # $missing is a list of words.
  # shellcheck disable=SC2086
  apt-get install -y -qq --no-install-recommends $missing </dev/null
}
# The lists that are there may do; a fresh machine has none, an old one outdated ones.
if [ -z "$(find /var/lib/apt/lists -name '*_Packages*' -print -quit 2>/dev/null)" ] || ! install; then
  apt-get update -qq </dev/null
  install
fi
