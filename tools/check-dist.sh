#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# check-dist.sh TARBALL PROGRAM: build the program from the tarball without a
# network and without what go has fetched before, and compare it with PROGRAM.
set -euo pipefail

tarball=$(realpath "$1")
program=$(realpath "$2")
home=$HOME
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tar -C "$work" -xf "$tarball"
cd "$work"/*/
export GOMODCACHE=$work/cache GOFLAGS=-modcacherw HOME=$work
GOCACHE=$(HOME=$home go env GOCACHE)
export GOCACHE
alone=()
[ "$(id -u)" != 0 ] || alone=(unshare --net)
"${alone[@]}" make -s build man 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
cmp build/ovl-restore "$program"
[ -s build/docs/man/ovl-restore.8 ]
# The tests' modules are there, too.
"${alone[@]}" env GOPROXY="file://$PWD/modules" GOSUMDB=off go test -count=1 ./internal/ioctl ./man >"$work/log" 2>&1 ||
	{ cat "$work/log" >&2; exit 1; }
echo "check-dist.sh: $(basename "$tarball"), $(stat -c %s "$tarball") bytes, builds $(cat .version) alone, as it is here"
