#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# fetch.sh SERIES CACHE [ARCH]: put Debian's newest kernel of SERIES (6.1, 6.12)
# for ARCH (amd64, armhf or arm64) into CACHE, nothing of it on the host, and
# print the directory it is in:
#
#	abi             its release, as uname -r prints it
#	arch            ARCH
#	vmlinuz         the kernel
#	root/           the kernel's modules, its headers and their build tools
#	source/         the parts of the source that the patches may touch
#	busybox         a static busybox
#
# Image, headers and source are of one package version: a module built from
# another version's source need not load, or worse, loads.
set -euo pipefail

here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
readonly here
readonly series=$1
cache=$(realpath -m "$2")
readonly cache
readonly arch=${3:-amd64}
case $arch in
amd64) flavour=cloud-amd64 place=$cache/$series ;;
arm64) flavour=cloud-arm64 place=$cache/$series-arm64 ;;
armhf) flavour=armmp place=$cache/$series-armhf ;;
*) echo "fetch.sh: no kernels of $arch" >&2; exit 1 ;;
esac
readonly flavour place

# What the patches may touch, and what building fs/overlayfs looks at. Files
# that a series lacks are left out.
readonly source_parts=(
	MAINTAINERS
	Documentation/filesystems
	Documentation/userspace-api/ioctl
	fs/overlayfs
	fs/internal.h
	fs/mount.h
	include/uapi/linux
	tools/testing/selftests/filesystems
	tools/testing/selftests/Makefile
	scripts/checkpatch.pl
	scripts/const_structs.checkpatch
	scripts/spelling.txt
)

die() { echo "fetch.sh: $*" >&2; exit 1; }

# versions PACKAGE...: lines "version package" of what the archive holds.
versions() {
	apt-cache madison "$@" 2>/dev/null | awk -F' *[|] *' '{ gsub(/ /, "", $1); print $2, $1 }' | sort -u
}

# newest: the newest line "version image-package" whose source, headers and
# image the archive holds in the same version.
newest() {
	local images
	images=$(apt-cache pkgnames "linux-image-$series." | grep -E -- "-$flavour\$" | grep -v -e -rt- || true)
	[ -n "$images" ] || return 0
	# shellcheck disable=SC2086 # one word for each package
	join <(versions $images) <(versions "linux-source-$series") |
		join - <(versions ${images//linux-image-/linux-headers-}) |
		cut -d' ' -f1,2 | sort -V | tail -n 1
}

as_root() {
	[ "$(id -u)" = 0 ] || die "no package list holds linux-source-$series; run apt-get update as root"
	"$@"
}

# foreign makes apt look at package lists of our own for another architecture:
# with dpkg --add-architecture the machine's own would have to hold them. The
# security archive is left out, since its lists of armhf have been stale.
foreign() {
	local apt=$cache/apt-$arch
	mkdir -p "$apt/lists/partial" "$apt/archives/partial"
	: >"$apt/status"
	local key='[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]'
	local suite
	for suite in bookworm bookworm-updates bookworm-backports; do
		echo "deb $key http://deb.debian.org/debian $suite main"
	done >"$apt/sources.list"
	cat >"$apt/apt.conf" <<-EOF
		Dir::State "$apt";
		Dir::State::status "$apt/status";
		Dir::Cache "$apt";
		Dir::Etc::sourcelist "$apt/sources.list";
		Dir::Etc::sourceparts "-";
		APT::Architecture "$arch";
		APT::Architectures { "$arch"; "amd64"; };
		APT::Sandbox::User "root";
		Acquire::Languages "none";
	EOF
	export APT_CONFIG=$apt/apt.conf
}

mkdir -p "$place"
[ "$arch" = amd64 ] || foreign
choice=$(newest)
if [ -z "$choice" ]; then
	as_root apt-get update -qq >&2
	choice=$(newest)
fi
[ -n "$choice" ] || die "the archive has no linux-image of $series with headers and source of the same version"
read -r version image <<<"$choice"

abi=${image#linux-image-}
dir=$place/$version
if [ -e "$dir/complete" ]; then
	echo "$dir"
	exit 0
fi

# Built beside its final name, so that an interrupted run leaves nothing that
# looks whole.
work=$dir.partial
rm -rf "$work"
mkdir -p "$work/deb" "$work/root" "$work/source"
cd "$work/deb"

headers=linux-headers-$abi
# The common headers and the build tools are named by what the headers depend on.
depends=$(apt-cache show "$headers=$version" | sed -n 's/^Depends: //p')
mapfile -t parts < <(tr ',' '\n' <<<"$depends" | awk '{ print $1 }' |
	grep -E '^linux-(headers-.*-common|kbuild-)')
[ ${#parts[@]} = 2 ] || die "$headers $version depends on no common headers and kbuild: $depends"
# They run here, whatever they build for.
for i in 0 1; do
	[[ ${parts[i]} != linux-kbuild-* ]] || parts[i]=${parts[i]%%:*}:amd64
done
download() {
	apt-get download -q=2 "$image=$version" "$headers=$version" "linux-source-$series=$version" \
		"${parts[0]}=$version" "${parts[1]}=$version" "busybox-static:$arch" \
		-o APT::Sandbox::User=root
}
# An index that is older than the archive names files that are gone, and with
# the new one another version may be the newest.
if ! download >&2; then
	[ -z "${OVL_FETCH_AGAIN:-}" ] || die "apt-get download failed"
	as_root apt-get update -qq >&2
	rm -rf "$work"
	OVL_FETCH_AGAIN=1 exec "$here/fetch.sh" "$@"
fi

for deb in linux-image-* linux-headers-* linux-kbuild-*; do
	dpkg -x "$deb" "$work/root"
done
mkdir "$work/busybox-root"
dpkg -x busybox-static_* "$work/busybox-root"
cp "$work/busybox-root/bin/busybox" "$work/busybox"

# The tarball is compressed in one block: one pass for all that is wanted.
tarball=./usr/src/linux-source-$series.tar.xz
patterns=("${source_parts[@]/#/linux-source-$series/}")
dpkg --fsys-tarfile linux-source-* | tar -xOf - "$tarball" | xz -dc -T0 |
	tar -xf - -C "$work/source" --strip-components=1 "${patterns[@]}" 2>"$work/tar.log" ||
	# tar ends with 2 for a pattern that matches nothing.
	{ grep -vE 'Not found in archive|Exiting with failure' "$work/tar.log" && die "unpack $tarball"; } || true
[ -e "$work/source/fs/overlayfs/super.c" ] || die "no fs/overlayfs in linux-source-$series $version"

cp "$work/root/boot/vmlinuz-$abi" "$work/vmlinuz"
echo "$abi" >"$work/abi"
echo "$arch" >"$work/arch"

# The headers name their common part by its installed path.
common=${parts[0]}
[ -d "$work/root/usr/src/$common" ] || common=${parts[1]}
printf 'include %s\n' "$(realpath -m "$dir/root/usr/src/$common/Makefile")" >"$work/root/usr/src/$headers/Makefile"

# Modules are loaded by path from the initramfs, by a loader that does not unpack.
find "$work/root/lib/modules" -name '*.ko.xz' -print0 | xargs -0 -r xz -d
PATH=$PATH:/usr/sbin:/sbin depmod -b "$work/root" "$abi"

rm -rf "$work/deb" "$work/busybox-root" "$work/root/usr/share" "$work/root/boot" "$work/tar.log"
touch "$work/complete"
rm -rf "$dir"
mv "$work" "$dir"
echo "$dir"
