#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# module.sh KERNEL PATCHES [EDITS]: build overlay.ko from the source in KERNEL (a
# directory that fetch.sh printed) with the patches of the directory PATCHES,
# and print the module's path. What was built once for the same patches is kept.
#
# EDITS is a directory of directories, each with the files "file", "old" and
# "new": a file of the patched source, a string that must be in it once, and
# what to put in its place. The module is put into EDITS and not kept.
set -euo pipefail

readonly kernel=$1 patches=$2 edits=${3-}

die() { echo "module.sh: $*" >&2; exit 1; }

cross=
case $(cat "$kernel/arch" 2>/dev/null || echo amd64) in
amd64) make=(make) ;;
armhf) cross=arm-linux-gnueabihf- make=(make ARCH=arm CROSS_COMPILE="$cross") ;;
arm64) cross=aarch64-linux-gnu- make=(make ARCH=arm64 CROSS_COMPILE="$cross") ;;
*) die "no compiler for $(cat "$kernel/arch")" ;;
esac

shopt -s nullglob
series=("$patches"/*.patch)
[ ${#series[@]} -gt 0 ] || die "no patches in $patches"

# This script is part of the key: it decides how the module is built.
key=$(cat "${series[@]}" "${BASH_SOURCE[0]}" | sha256sum | cut -c1-16)
dir=$kernel/patched-$key
if [ -z "$edits" ] && [ -e "$dir/overlay.ko" ]; then
	echo "$dir/overlay.ko"
	exit 0
fi

# patched puts the patched source into a new directory.
patched() {
	rm -rf "$1"
	mkdir -p "$1"
	cp -r "$kernel/source/." "$1"
	# The kernels of the other machines may be a few versions older: there only
	# what the module is made of has to apply, not the lists that everybody adds to.
	local parts='.' patch
	[ -z "$cross" ] || parts='^a/(fs|include)/'
	for patch in "${series[@]}"; do
		awk -v parts="$parts" '/^diff --git / { keep = $3 ~ parts } keep' "$patch" |
			patch -d "$1" -p1 --fuzz=0 --no-backup-if-mismatch >"$1.log" 2>&1 ||
			{ cat "$1.log" >&2; die "$patch does not apply"; }
		# An offset means that the patch was made for another file than this.
		if [ -z "$cross" ] && grep -q 'offset' "$1.log"; then
			sed 's/^/module.sh: note: /' "$1.log" >&2
		fi
	done
}

# edit replaces the strings. The files as they were are kept in $1/.saved, and
# put back the next time.
edit() {
	local at file
	if [ -d "$1/.saved" ]; then
		cp -r "$1/.saved/." "$1"
	fi
	rm -rf "$1/.saved"
	for at in "$edits"/*/; do
		file=$(cat "$at/file")
		if [ ! -e "$1/.saved/$file" ]; then
			mkdir -p "$1/.saved/$(dirname "$file")"
			cp "$1/$file" "$1/.saved/$file"
		fi
		EDIT=$at perl -0777 -i -pe '
			sub slurp { open my $f, "<", "$ENV{EDIT}/$_[0]" or die; local $/; <$f> }
			my ($old, $new) = (slurp("old"), slurp("new"));
			my $n = s/\Q$old\E/$new/g;
			$n == 1 or die "in the file " . ($n || 0) . " times: $old\n";
		' "$1/$file" >&2 || die "edit $file"
	done
}

work=$dir.partial
if [ -z "$edits" ]; then
	patched "$work"
else
	# Kept, so that only what is edited is compiled the next time.
	work=$kernel/edited-$key
	[ -d "$work" ] || { patched "$work.new" && mv "$work.new" "$work"; }
	edit "$work"
fi

# A new uapi header is not among the installed ones. BTF would need pahole and
# helps nobody here.
"${make[@]}" -C "$kernel/root/usr/src/linux-headers-$(cat "$kernel/abi")" M="$work/fs/overlayfs" \
	CONFIG_OVERLAY_FS=m CONFIG_DEBUG_INFO_BTF_MODULES= KCPPFLAGS="-I$work/include/uapi -I$work/include" \
	-j"$(nproc)" modules >"$work.log" 2>&1 || { cat "$work.log" >&2; die "build overlay.ko"; }
grep -E 'warning:' "$work.log" | grep -vE 'compiler differs|Skipping BTF' >&2 || true

if [ -n "$edits" ]; then
	"${cross}strip" --strip-debug -o "$edits/overlay.ko" "$work/fs/overlayfs/overlay.ko"
	echo "$edits/overlay.ko"
	exit 0
fi
"${cross}strip" --strip-debug "$work/fs/overlayfs/overlay.ko"
mkdir -p "$dir"
mv "$work.log" "$dir/build.log"
mv "$work/fs/overlayfs/overlay.ko" "$dir/overlay.ko"
rm -rf "$work"
echo "$dir/overlay.ko"
