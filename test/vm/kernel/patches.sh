#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# patches.sh tree SERIES TREE: make a git repository in TREE of the kernel source
# that the patches of SERIES are for, with one commit for each patch, to work on.
#
# patches.sh export SERIES TREE: write the patches of SERIES anew from the
# commits in TREE, after checkpatch.pl --strict has found nothing in them.
#
# patches.sh check SERIES: see that git am takes the patches of SERIES, that they
# are what export would write, that the module builds without a warning after
# each of them, and that sparse finds nothing in what they make of it.
set -euo pipefail

readonly what=$1 series=$2 tree=${3:-}
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
root=$(realpath "$here/../../..")
readonly here root
readonly patches=$root/yocto/meta-ovl-restore/recipes-kernel/linux/files/$series

die() { echo "patches.sh: $*" >&2; exit 1; }

make_tree() {
	[ ! -e "$tree" ] || die "$tree exists; remove it to start anew"
	kernel=$("$here/fetch.sh" "$series" "$root/build/vm")
	mkdir -p "$tree"
	cp -r "$kernel/source/." "$tree"
	cd "$tree"
	git init -q
	for key in user.name user.email; do
		git config "$key" "$(git -C "$root" config "$key")"
	done
	git add -A -f
	git commit -q -m "linux-source-$series $(basename "$kernel")"
	git tag base
	git switch -q -c ovl-restore
	git am -q "$patches"/*.patch
	git log --oneline base..
}

# format writes the commits of a tree into a directory, where checkpatch.pl finds
# nothing in them.
format() {
	local from=$1 new=$2
	cd "$from"
	# The same commits make the same files, whoever runs this with whatever git.
	git -c core.abbrev=12 -c diff.noprefix=false -c diff.algorithm=default format-patch -q \
		--no-signature --zero-commit --no-thread --stat=80 -o "$new" base..HEAD
	for patch in "$new"/*.patch; do
		for trailer in Signed-off-by Upstream-Status; do
			grep -q "^$trailer: " "$patch" || die "$(basename "$patch") has no $trailer"
		done
		perl scripts/checkpatch.pl --strict --no-tree --terse "$patch" >"$new/report" ||
			{ cat "$new/report" >&2; die "checkpatch finds fault with $(basename "$patch")"; }
		rm "$new/report"
	done
}

export_patches() {
	[ -e "$tree/.git" ] || die "no $tree; make it with: patches.sh tree $series $tree"
	new=$(mktemp -d)
	trap 'rm -rf "$new"' EXIT
	git -C "$tree" diff --quiet HEAD || die "$tree has changes that are not committed"
	(format "$tree" "$new")
	rm -f "$patches"/*.patch
	cp "$new"/*.patch "$patches"
	(cd "$patches" && ls ./*.patch)
}

# build builds the module of a tree; what follows are make's variables. The
# warnings, without line numbers, are left in TREE.warnings.
build() {
	local at=$1 kernel=$2
	shift 2
	make -s -C "$kernel/root/usr/src/linux-headers-$(cat "$kernel/abi")" M="$at/fs/overlayfs" \
		CONFIG_OVERLAY_FS=m CONFIG_DEBUG_INFO_BTF_MODULES= \
		KCPPFLAGS="-I$at/include/uapi -I$at/include" -j"$(nproc)" "$@" modules >"$at.log" 2>&1 ||
		{ cat "$at.log" >&2; die "build overlay.ko"; }
	grep -E 'fs/overlayfs/.*(warning|error):' "$at.log" | sed -E 's/:[0-9]+:[0-9]+:/:/' | sort >"$at.warnings" || true
}

check_patches() {
	"$root/tools/need.sh" sparse=sparse
	kernel=$("$here/fetch.sh" "$series" "$root/build/vm")
	check=$(mktemp -d)
	trap 'rm -rf "$check"' EXIT
	"$here/patches.sh" tree "$series" "$check/tree" >/dev/null
	(format "$check/tree" "$check/new")
	diff -r "$patches" "$check/new" || die "make kernel-patches would write other patches"

	cd "$check/tree"
	checkout() { git -c advice.detachedHead=false checkout -q "$1"; }
	checkout base
	# What sparse has always found is not ours.
	build "$check/tree" "$kernel" C=1 CHECK=sparse
	mv "$check/tree.warnings" "$check/before"
	for commit in $(git rev-list --reverse base..ovl-restore); do
		checkout "$commit"
		if git diff --quiet "$commit~" -- fs include; then
			continue
		fi
		build "$check/tree" "$kernel" C=1 CHECK=sparse
		diff "$check/before" "$check/tree.warnings" ||
			die "other warnings after: $(git log -1 --format=%s)"
	done
	echo "$series: $(git rev-list --count base..ovl-restore) patches apply and build one by one, without a new warning; checkpatch and sparse find nothing"
}

case $what in
tree) make_tree ;;
export) export_patches ;;
check) check_patches ;;
*) die "tree, export or check, not $what" ;;
esac
