#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# module.sh KERNEL PATCHES: build overlay.ko from the source in KERNEL (a
# directory that fetch.sh printed) with the patches of the directory PATCHES,
# and print the module's path. What was built once for the same patches is kept.
set -euo pipefail

readonly kernel=$1 patches=$2

die() { echo "module.sh: $*" >&2; exit 1; }

shopt -s nullglob
series=("$patches"/*.patch)
[ ${#series[@]} -gt 0 ] || die "no patches in $patches"

# This script is part of the key: it decides how the module is built.
key=$(cat "${series[@]}" "${BASH_SOURCE[0]}" | sha256sum | cut -c1-16)
dir=$kernel/patched-$key
if [ -e "$dir/overlay.ko" ]; then
	echo "$dir/overlay.ko"
	exit 0
fi

work=$dir.partial
rm -rf "$work"
mkdir -p "$work"
cp -r "$kernel/source/." "$work"
for patch in "${series[@]}"; do
	patch -d "$work" -p1 --fuzz=0 --no-backup-if-mismatch <"$patch" >"$work.log" 2>&1 ||
		{ cat "$work.log" >&2; die "$patch does not apply"; }
	# An offset means that the patch was made for another file than this.
	if grep -q 'offset' "$work.log"; then
		sed 's/^/module.sh: note: /' "$work.log" >&2
	fi
done

# A new uapi header is not among the installed ones. BTF would need pahole and
# helps nobody here.
make -C "$kernel/root/usr/src/linux-headers-$(cat "$kernel/abi")" M="$work/fs/overlayfs" \
	CONFIG_OVERLAY_FS=m CONFIG_DEBUG_INFO_BTF_MODULES= KCPPFLAGS="-I$work/include/uapi -I$work/include" \
	-j"$(nproc)" modules >"$work.log" 2>&1 || { cat "$work.log" >&2; die "build overlay.ko"; }
grep -E 'warning:' "$work.log" | grep -vE 'compiler differs|Skipping BTF' >&2 || true

strip --strip-debug "$work/fs/overlayfs/overlay.ko"
mkdir -p "$dir"
mv "$work.log" "$dir/build.log"
mv "$work/fs/overlayfs/overlay.ko" "$dir/overlay.ko"
rm -rf "$work"
echo "$dir/overlay.ko"
