#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# selftest.sh KERNEL PATCHES: build the kselftest that the patches of the
# directory PATCHES add, with kselftest's own Makefile, and print the program's
# path. KERNEL is a directory that fetch.sh printed; the parts of kselftest come
# from the source of the same version. What was built once is kept.
set -euo pipefail

readonly kernel=$1 patches=$2

die() { echo "selftest.sh: $*" >&2; exit 1; }

[ "$(cat "$kernel/arch" 2>/dev/null || echo amd64)" = amd64 ] || die "kselftest is built for amd64 only"
shopt -s nullglob
series=("$patches"/*.patch)
[ ${#series[@]} -gt 0 ] || die "no patches in $patches"

key=$(cat "${series[@]}" "${BASH_SOURCE[0]}" | sha256sum | cut -c1-16)
dir=$kernel/selftest-$key
if [ -e "$dir/restore_lower" ]; then
	echo "$dir/restore_lower"
	exit 0
fi

# What fetch.sh keeps of the source has the patched files, but not kselftest.
source=$kernel/selftest-source
if [ ! -e "$source" ]; then
	rm -rf "$source.partial"
	mkdir -p "$source.partial"
	name=linux-source-$(basename "$(dirname "$kernel")")
	(cd "$source.partial" && apt-get download -q=2 "$name=$(basename "$kernel")" -o APT::Sandbox::User=root >&2)
	dpkg --fsys-tarfile "$source.partial/$name"_*.deb | tar -xOf - "./usr/src/$name.tar.xz" | xz -dc -T0 |
		tar -xf - -C "$source.partial" --strip-components=1 --wildcards --no-wildcards-match-slash \
			"$name/tools/testing/selftests/*.h" "$name/tools/testing/selftests/lib.mk" \
			"$name/scripts/subarch.include"
	rm "$source.partial/$name"_*.deb
	mv "$source.partial" "$source"
fi

work=$dir.partial
rm -rf "$work"
mkdir -p "$work/tree" "$work/out"
cp -r "$source/." "$kernel/source/." "$work/tree"
for patch in "${series[@]}"; do
	patch -d "$work/tree" -p1 -s --fuzz=0 --no-backup-if-mismatch <"$patch" >&2 || die "$patch does not apply"
done
# The header alone: the others of include/uapi are not yet as they are installed.
mkdir -p "$work/include/linux"
cp "$work/tree/include/uapi/linux/overlayfs.h" "$work/include/linux"
make -C "$work/tree/tools/testing/selftests/filesystems/overlayfs" OUTPUT="$work/out" LDFLAGS=-static \
	KHDR_INCLUDES="-isystem $work/include" "$work/out/restore_lower" >&2
mkdir -p "$dir"
mv "$work/out/restore_lower" "$dir"
rm -rf "$work"
echo "$dir/restore_lower"
