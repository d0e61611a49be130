#!/bin/sh
# Installs what deploy/packages.txt lists and the machine lacks. Quick and silent when all is there; else it
# needs root, as on a fresh Debian 12.
#
#   deploy/install.sh
set -eu
here=$(cd "$(dirname "$0")" && pwd)

missing=
while read -r package command; do
  case $package in '' | '#'*) continue ;; esac
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
