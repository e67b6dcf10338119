#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# need.sh COMMAND=PACKAGE…: install the Debian packages of those commands that
# this machine lacks. An absolute path is a file, a name with .so in it a shared
# library. Looks for the things themselves, not for packages: they may come from
# elsewhere.
set -euo pipefail

export PATH="$PATH:/usr/sbin:/sbin"
missing=()
for need; do
	name=${need%%=*}
	case $name in
	/*) [ -e "$name" ] || missing+=("${need#*=}") ;;
	*.so*) ldconfig -p | grep -qF "$name" || missing+=("${need#*=}") ;;
	*) command -v "$name" >/dev/null || missing+=("${need#*=}") ;;
	esac
done
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" != 0 ]; then
	echo "need.sh: missing: ${missing[*]}; install them as root with apt-get" >&2
	exit 1
fi
echo "need.sh: installing ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
install() {
	apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >"$log" 2>&1
}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# Package lists may be absent or stale: both show as a failed installation.
install || { apt-get update -qq >&2 && install; } || { cat "$log" >&2; exit 1; }
