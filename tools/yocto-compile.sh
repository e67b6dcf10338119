#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# yocto-compile.sh: compile the program as the Yocto recipe's do_compile does,
# without BitBake: with nothing but the modules that the recipe names, in a cache
# as BitBake's gomod fetcher lays it out, checksums verified, and no proxy.
# Licences are compared, too.
set -euo pipefail
cd "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/.."

readonly recipe=yocto/meta-ovl-restore/recipes-core/ovl-restore/ovl-restore

die() { echo "yocto-compile.sh: $*" >&2; exit 1; }

have=$(go env GOMODCACHE)/cache/download
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
escaped() { sed 's/\([A-Z]\)/!\L\1/g'; }

n=0
while IFS=';' read -r uri version rest; do
	path=$(escaped <<<"${uri#gomod://}")/@v/$(escaped <<<"${version#version=}")
	sum=${rest##*sha256sum=}
	kind=zip
	[[ $rest != mod=1* ]] || kind=mod
	mkdir -p "$dir/pkg/mod/cache/download/$(dirname "$path")"
	cp "$have/$path.$kind" "$have/$path.mod" "$dir/pkg/mod/cache/download/$(dirname "$path")/"
	sha256sum --quiet -c - <<<"$sum  $dir/pkg/mod/cache/download/$path.$kind" || die "another checksum: $uri"
	n=$((n + 1))
done < <(sed -n 's/^ *\(gomod:[^ ]*\).*/\1/p' "$recipe-go-mods.inc")
[ "$n" -gt 0 ] || die "$recipe-go-mods.inc names no module"

mkdir "$dir/src"
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$dir/src" 2>/dev/null || true # removed ones
export GOMODCACHE=$dir/pkg/mod GOPROXY=off GOSUMDB=off GOENV=off GOTOOLCHAIN=local GOOS=linux GOARCH=arm GOARM=7
export GOFLAGS="-trimpath -buildvcs=false -modcacherw"
make -s -C "$dir/src" VERSION=test STATIC=CGO_ENABLED=0 build man 2>"$dir/log" || { cat "$dir/log" >&2; die "make build man"; }
[ -s "$dir/src/build/docs/man/ovl-restore.8" ] || die "no manual"

while IFS=';' read -r uri md5 _; do
	file=$dir/${uri#file://}
	md5sum --quiet -c - <<<"${md5#md5=}  $file" || die "another licence: $uri"
done < <(sed -n 's/^ *\(file:[^ ]*\).*/\1/p' "$recipe-licenses.inc")
echo "yocto-compile.sh: $n modules, $(stat -c %s "$dir/src/build/ovl-restore") bytes for armv7"
