#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# squash-patches.sh make SERIES…: write each series of kernel patches as one
# patch, for a kernel recipe that names one.
#
# squash-patches.sh check SERIES…: see that it does what the series does, on the
# source of Debian's newest kernel.
set -euo pipefail
root=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")
readonly root
readonly files=$root/yocto/meta-ovl-restore/recipes-kernel/linux/files

die() { echo "squash-patches.sh: $*" >&2; exit 1; }

git() { GIT_CONFIG_GLOBAL=/dev/null command git -C "$tree" -c user.name=x -c user.email=x "$@"; }

# apply PATCH…: and print the tree that they make.
apply() {
	for patch; do
		patch -d "$tree" -p1 -s --fuzz=0 --no-backup-if-mismatch <"$patch" >&2 || die "$patch does not apply"
	done
	git add -A -f
	git write-tree
}

subject() { awk '/^Subject: / { sub(/^Subject: \[PATCH[^]]*\] /, ""); s = $0; next } s { if (/^ /) s = s $0; else { print "  " s; exit } }' "$1"; }

# squash: the patch, from what is in the index.
squash() {
	echo "Subject: [PATCH] ovl: make lower entries visible again"
	printf '\nThese patches in one, for Linux %s:\n\n' "$series"
	for patch in "${patches[@]}"; do subject "$patch"; done
	printf '\nUpstream-Status: Pending\n'
	sed -n '/^Signed-off-by: /p' "${patches[@]}" | sort -u
	echo "---"
	# Without the index lines: what they are the sums of changes with each kernel.
	git -c diff.noprefix=false -c diff.algorithm=default diff --cached --no-ext-diff | sed '/^index /d'
}

what=${1-}
shift
tree=
trap 'rm -rf "$tree"' EXIT
for series; do
	kernel=$("$root/test/vm/kernel/fetch.sh" "$series" "$root/build/vm")
	patches=("$files/$series"/*.patch)
	squashed=$files/squashed/$series/overlayfs-restore-lower.patch
	tree=$(mktemp -d)
	git init -q
	# What no patch touches only costs time.
	cat "${patches[@]}" "$(find "$files/squashed/$series" -name '*.patch' 2>/dev/null || echo /dev/null)" |
		sed -n 's|^+++ b/||p' | sort -u | while read -r file; do
		[ -e "$kernel/source/$file" ] || continue
		mkdir -p "$tree/$(dirname "$file")"
		cp "$kernel/source/$file" "$tree/$file"
	done
	git add -A -f
	git commit -q -m base
	want=$(apply "${patches[@]}")
	case $what in
	make)
		mkdir -p "$(dirname "$squashed")"
		squash >"$squashed"
		;;
	check)
		git reset -q --hard
		[ "$(apply "$squashed")" = "$want" ] ||
			die "$series/ and squashed/$series/ do different things; run make kernel-squash"
		;;
	*) die "make or check, not $what" ;;
	esac
	rm -rf "$tree"
done
