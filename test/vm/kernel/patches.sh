#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# patches.sh tree SERIES TREE: make a git repository in TREE of the kernel source
# that the patches of SERIES are for, with one commit for each patch, to work on.
#
# patches.sh export SERIES TREE: write the patches of SERIES anew from the
# commits in TREE, after checkpatch.pl --strict has found nothing in them.
set -euo pipefail

readonly what=$1 series=$2 tree=$3
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

export_patches() {
	[ -e "$tree/.git" ] || die "no $tree; make it with: patches.sh tree $series $tree"
	new=$(mktemp -d)
	trap 'rm -rf "$new"' EXIT
	cd "$tree"
	git diff --quiet HEAD || die "$tree has changes that are not committed"
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
	rm -f "$patches"/*.patch
	cp "$new"/*.patch "$patches"
	(cd "$patches" && ls ./*.patch)
}

case $what in
tree) make_tree ;;
export) export_patches ;;
*) die "tree or export, not $what" ;;
esac
