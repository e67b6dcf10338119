#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# debug.sh KERNEL PATCHES: build a kernel that watches its locks and its memory
# (PROVE_LOCKING, DEBUG_ATOMIC_SLEEP, KASAN) from the source of the same version
# as KERNEL (a directory that fetch.sh printed), with the patches of the
# directory PATCHES, and print the directory it is in:
#
#	abi                     its release, as uname -r prints it
#	vmlinuz                 the kernel; everything is built in
#	root/lib/modules/ABI    lists of no modules
#
# This takes ten minutes the first time. What was built once for the same
# patches is kept.
set -euo pipefail

readonly kernel=$1 patches=$2
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
readonly here

die() { echo "debug.sh: $*" >&2; exit 1; }

shopt -s nullglob
series=("$patches"/*.patch)
[ ${#series[@]} -gt 0 ] || die "no patches in $patches"

key=$(cat "${series[@]}" "$here/debug.sh" "$here/debug.config" | sha256sum | cut -c1-16)
dir=$kernel/debug-$key
if [ -e "$dir/complete" ]; then
	echo "$dir"
	exit 0
fi

"$here/../../../tools/need.sh" flex=flex bison=bison bc=bc /usr/include/libelf.h=libelf-dev \
	/usr/include/openssl/opensslv.h=libssl-dev >&2

# One build at a time, and one build directory: after a change of a patch only
# what it touches is built again.
work=$kernel/debug
mkdir -p "$work"
source=$work/source build=$work/build
version=$(basename "$kernel")
name=linux-source-$(basename "$(dirname "$kernel")")
if [ ! -e "$source/.unpacked" ]; then
	rm -rf "$source" "$work/deb" "$work/applied"
	mkdir -p "$source" "$work/deb"
	(cd "$work/deb" && apt-get download -q=2 "$name=$version" -o APT::Sandbox::User=root >&2)
	dpkg --fsys-tarfile "$work/deb"/*.deb | tar -xOf - "./usr/src/$name.tar.xz" | xz -dc -T0 |
		tar -xf - -C "$source" --strip-components=1
	rm -rf "$work/deb"
	# What the patches touch, as it was: files that they make are not in it.
	touch "$source/.unpacked"
fi
# The last one first: they build on each other.
applied=("$work"/applied/*.patch)
for ((i = ${#applied[@]} - 1; i >= 0; i--)); do
	patch -d "$source" -p1 -s -f -R <"${applied[i]}" >&2 || { rm -rf "$source" "$work/applied"; die "start again"; }
	rm "${applied[i]}"
done
mkdir -p "$work/applied"
for patch in "${series[@]}"; do
	patch -d "$source" -p1 -s -f --fuzz=0 --no-backup-if-mismatch <"$patch" >&2 ||
		{ rm -rf "$source" "$work/applied"; die "$patch does not apply"; }
	cp "$patch" "$work/applied/"
done

mkdir -p "$build"
run() { make -s -C "$source" O="$build" ARCH=x86_64 "$@" >>"$work/log" 2>&1 || { tail -n 40 "$work/log" >&2; die "make $*"; }; }
: >"$work/log"
KCONFIG_ALLCONFIG="$here/debug.config" run allnoconfig
while read -r line; do
	case $line in
	CONFIG_*=y) grep -qxF "$line" "$build/.config" || echo "debug.sh: note: not in $name: $line" >&2 ;;
	esac
done <"$here/debug.config"
run -j"$(nproc)" bzImage

rm -rf "$dir"
abi=$(cat "$build/include/config/kernel.release")
mkdir -p "$dir/root/lib/modules/$abi"
cp "$build/arch/x86/boot/bzImage" "$dir/vmlinuz"
echo "$abi" >"$dir/abi"
cp "$build/modules.builtin" "$dir/root/lib/modules/$abi/"
: >"$dir/root/lib/modules/$abi/modules.dep"
: >"$dir/root/lib/modules/$abi/modules.alias"
touch "$dir/complete"
echo "$dir"
