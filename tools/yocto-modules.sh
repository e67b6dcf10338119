#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# yocto-modules.sh: write what the Yocto recipe needs to know of the modules that
# the program is built from: where to fetch them, with checksums, and their
# licences, with checksums. Both follow from go.mod.
set -euo pipefail
cd "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/.."

readonly recipe=yocto/meta-ovl-restore/recipes-core/ovl-restore/ovl-restore

die() { echo "yocto-modules.sh: $*" >&2; exit 1; }

# What go leaves in an empty cache is what it needs: for some modules nothing
# but go.mod. What this machine has fetched before is not fetched again.
real=$(go env GOMODCACHE)
proxy=$(go env GOPROXY)
cache=$(mktemp -d)
trap 'rm -rf "$cache"' EXIT
export GOMODCACHE=$cache GOPROXY="file://$real/cache/download,$proxy" GOFLAGS=-modcacherw CGO_ENABLED=0 GOOS=linux
list() { go list -deps "$@" ./cmd/ovl-restore >/dev/null 2>"$cache/log" || { cat "$cache/log" >&2; exit 1; }; }
for GOARCH in amd64 386 arm arm64 riscv64 mips mips64 ppc64le loong64; do
	export GOARCH
	list
done
list -tags gendocs

# plain NAME: a module's path or version without the cache's spelling of capitals.
plain() { printf '%s\n' "$1" | sed 's/!\([a-z]\)/\U\1/g'; }

spdx() {
	local text
	text=$(tr -s ' \n\t' ' ' <"$1")
	case $text in
	*"Apache License Version 2.0"*) echo Apache-2.0 ;;
	*"Permission is hereby granted, free of charge"*) echo MIT ;;
	*"Redistribution and use in source and binary forms"*"Neither the name"*) echo BSD-3-Clause ;;
	*"Redistribution and use in source and binary forms"*) echo BSD-2-Clause ;;
	*) die "which licence is $1?" ;;
	esac
}

uris=() licences=() ids=()
while IFS= read -r -d '' file; do
	file=${file#./}
	module=$(plain "${file%/@v/*}")
	version=${file##*/@v/}
	version=$(plain "${version%.*}")
	sum=$(sha256sum "$cache/cache/download/$file" | cut -d' ' -f1)
	if [[ $file = *.mod ]]; then
		[ -e "$cache/cache/download/${file%.mod}.zip" ] ||
			uris+=("gomod://$module;version=$version;mod=1;sha256sum=$sum")
		continue
	fi
	uris+=("gomod://$module;version=$version;sha256sum=$sum")
	dir=${file%/@v/*}@$(basename "${file%.zip}")
	found=
	for name in LICENSE LICENSE.txt LICENSE.md COPYING LICENCE; do
		[ -e "$cache/$dir/$name" ] || continue
		found=$cache/$dir/$name
		id=$(spdx "$found")
		md5=$(md5sum "$found" | cut -d' ' -f1)
		licences+=("file://pkg/mod/$dir/$name;md5=$md5;spdx=$id")
		[ "$id" = Apache-2.0 ] || ids+=("$id") # our own
	done
	[ -n "$found" ] || die "no licence in $module@$version"
done < <(cd "$cache/cache/download" && find . -path '*/@v/*' \( -name '*.zip' -o -name '*.mod' \) -print0 | LC_ALL=C sort -z)
[ ${#uris[@]} -gt 0 ] || die "go fetched nothing"

heading="# SPDX-License-Identifier: Apache-2.0
# Made by \"make yocto-modules\" from go.mod: do not edit."
{
	echo "$heading"
	printf '\nSRC_URI += " \\\n'
	printf '    %s \\\n' "${uris[@]}"
	echo '"'
} >"$recipe-go-mods.inc"
{
	echo "$heading"
	printf '#\n# The wrynose release knows & only; later ones take it for AND.\n\n'
	printf 'LICENSE += "'
	printf '%s\n' "${ids[@]}" | LC_ALL=C sort -u | sed 's/.*/\& &/' | tr '\n' ' ' | sed 's/ $//'
	printf '"\n\nLIC_FILES_CHKSUM += " \\\n'
	printf '    %s \\\n' "${licences[@]}"
	echo '"'
} >"$recipe-licenses.inc"
