#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# extra.sh KERNEL SOURCE: build the one module in the directory SOURCE for KERNEL
# (a directory that fetch.sh printed), and print the module's path. What was
# built once of the same source is kept.
set -euo pipefail

readonly kernel=$1 source=$2

die() { echo "extra.sh: $*" >&2; exit 1; }

cross=
case $(cat "$kernel/arch" 2>/dev/null || echo amd64) in
amd64) make=(make) ;;
armhf) cross=arm-linux-gnueabihf- make=(make ARCH=arm CROSS_COMPILE="$cross") ;;
arm64) cross=aarch64-linux-gnu- make=(make ARCH=arm64 CROSS_COMPILE="$cross") ;;
*) die "no compiler for $(cat "$kernel/arch")" ;;
esac

name=$(basename "$source")
key=$(cat "$source"/* "${BASH_SOURCE[0]}" | sha256sum | cut -c1-16)
dir=$kernel/$name-$key
if [ -e "$dir/$name.ko" ]; then
	echo "$dir/$name.ko"
	exit 0
fi

work=$dir.partial
rm -rf "$work"
cp -r "$source" "$work"
"${make[@]}" -C "$kernel/root/usr/src/linux-headers-$(cat "$kernel/abi")" M="$work" \
	CONFIG_DEBUG_INFO_BTF_MODULES= modules >"$work.log" 2>&1 || { cat "$work.log" >&2; die "build $name.ko"; }
"${cross}strip" --strip-debug "$work/$name.ko"
mkdir -p "$dir"
mv "$work/$name.ko" "$dir/$name.ko"
rm -rf "$work" "$work.log"
echo "$dir/$name.ko"
