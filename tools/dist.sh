#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# dist.sh VERSION DATE TARBALL: archive the commit that is checked out, with its
# version, its date (seconds) and, in modules/, what else it takes to build and
# test it without a network. The same commit makes the same archive.
set -euo pipefail
top=$PWD

readonly version=$1 date=$2 tarball=$3
name=ovl-restore-$version
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir "$work/$name"
git archive HEAD | tar -x -C "$work/$name"
echo "$version" >"$work/$name/.version"
echo "$date" >"$work/$name/.source-date"

# What go leaves in an empty cache is what it needs. In the form of a proxy, for
# the program is built from modules that are changed a little: lean.sh.
real=$(go env GOMODCACHE)
proxy=$(go env GOPROXY)
export GOMODCACHE=$work/cache GOPROXY="file://$real/cache/download,$proxy" GOFLAGS=-modcacherw CGO_ENABLED=0
{
	cd "$work/$name"
	for GOARCH in amd64 386 arm arm64 riscv64; do
		export GOARCH
		go list -deps ./cmd/ovl-restore
	done
	unset GOARCH
	go list -deps -test -tags gendocs,vmguest ./...
} 2>"$work/log" >/dev/null || { cat "$work/log" >&2; exit 1; }
(cd "$work/cache/cache/download" && find . -path '*/@v/*' \( -name '*.zip' -o -name '*.mod' -o -name '*.info' \) -print0) |
	(cd "$work/cache/cache/download" && xargs -0 cp --parents -t "$(mkdir -p "$work/$name/modules" && echo "$work/$name/modules")")

mkdir -p "$(dirname "$top/$tarball")"
tar -C "$work" --sort=name --mtime="@$date" --owner=0 --group=0 --numeric-owner --mode=u+rw,go+r-w --format=gnu -cf - "$name" |
	xz -T2 -6 >"$top/$tarball"
