#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# images.sh CACHE: make what the test device starts with, and print the
# directory it is in:
#
#	v1.squashfs  its first image
#	v2.squashfs  the next one, different in device/v1 and device/v2
#	data/        what the data file system starts with: the second image as
#	             update/v2.raucb, which RAUC installs
#
# Made anew only when something that goes in has changed.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
root=$(realpath "$here/../..")
mkdir -p "$1"
cache=$(realpath "$1")
readonly here root cache
export PATH=$PATH:/usr/sbin:/sbin

"$root/tools/need.sh" mmdebstrap=mmdebstrap mksquashfs=squashfs-tools rauc=rauc openssl=openssl >&2

# hash: of what it is given to read.
hash() { sha256sum | cut -c1-16; }
# contents DIR…: names, modes and contents below it.
contents() {
	tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf - "$@"
}

work=$(mktemp -d "$cache/work.XXXXXX")
trap 'rm -rf "$work"' EXIT

base=$cache/base-$(hash <"$here/base.sh").tar
if [ ! -e "$base" ]; then
	rm -f "$cache"/base-*.tar
	"$here/base.sh" "$base" >&2
fi

keys=$cache/keys
if [ ! -e "$keys" ]; then
	mkdir "$work/keys"
	openssl req -x509 -newkey rsa:2048 -nodes -days 7300 -subj '/O=ovl-restore tests/CN=test' \
		-keyout "$work/keys/key.pem" -out "$work/keys/cert.pem" 2>"$work/openssl.log" ||
		{ cat "$work/openssl.log" >&2; exit 1; }
	mv "$work/keys" "$keys"
fi

# What a package of ovl-restore would install.
make -s -C "$root" install-bin install-policy install-udev install-systemd install-hooks DESTDIR="$work/installed" PREFIX=/usr VERSION=test >&2

made=$cache/images-$({ cat "$0"; echo "$base"; cat "$keys/cert.pem"; contents -C "$work" installed -C "$here" device; } | hash)
if [ -e "$made" ]; then
	echo "$made"
	exit 0
fi
rm -rf "$cache"/images-*
mkdir -p "$work/root" "$work/images/data/update" "$work/bundle"
tar -xf "$base" -C "$work/root"

# copy DIR: into the root, as root's. Not cp -a: owners and modes of the
# directories that are there already have to stay.
copy() { tar -C "$1" --owner=0 --group=0 --no-overwrite-dir -cf - . | tar -C "$work/root" --no-overwrite-dir --keep-directory-symlink -xf -; }
copy "$work/installed"
copy "$here/device/all"
# The hooks, where their engines look.
install -D -m 644 "$root/integrations/rauc/mark-good.conf" "$work/root/etc/systemd/system/rauc-mark-good.service.d/ovl-restore.conf"
install -D -m 644 "$root/integrations/dpkg/dpkg.cfg" "$work/root/etc/dpkg/dpkg.cfg.d/ovl-restore"
mkdir -p "$work/root/data" "$work/root/vm"
cp "$keys/cert.pem" "$work/root/etc/rauc/keyring.pem"
# Files of a running system, which systemd fills in.
: >"$work/root/etc/machine-id"
rm -f "$work/root/etc/resolv.conf" "$work/root/etc/hostname"
echo device >"$work/root/etc/hostname"

# As a package's installation does it. The rest is what takes the most time to
# start, and nothing here needs.
{
	mapfile -t units < <(cd "$work/installed/usr/lib/systemd/system" && ls -- *[!@].service)
	chroot "$work/root" systemctl preset "${units[@]}"
	chroot "$work/root" systemctl enable app.service rauc-mark-good.service
	chroot "$work/root" systemctl set-default multi-user.target
	chroot "$work/root" systemctl mask getty@tty1.service serial-getty@ttyS0.service getty-static.service \
		systemd-logind.service systemd-networkd.socket systemd-networkd.service systemd-network-generator.service \
		systemd-hwdb-update.service systemd-pstore.service \
		modprobe@drm.service modprobe@efi_pstore.service modprobe@fuse.service modprobe@configfs.service \
		dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount
} >"$work/systemctl.log" 2>&1 || { cat "$work/systemctl.log" >&2; exit 1; }

image() { # VERSION
	copy "$here/device/v$1"
	mksquashfs "$work/root" "$work/images/v$1.squashfs" -noappend -quiet -no-progress \
		-comp zstd -Xcompression-level 3 >&2
	# The next version does not have what only this one had.
	(cd "$here/device/v$1" && find . -type f -print0) | (cd "$work/root" && xargs -0 rm -f)
}
image 1
image 2

ln "$work/images/v2.squashfs" "$work/bundle/rootfs.squashfs"
cp "$root/integrations/rauc/post-install" "$work/bundle/post-install"
cp "$here/bundle/manifest.raucm" "$work/bundle/manifest.raucm"
rauc bundle --cert="$keys/cert.pem" --key="$keys/key.pem" \
	"$work/bundle" "$work/images/data/update/v2.raucb" >"$work/rauc.log" 2>&1 || { cat "$work/rauc.log" >&2; exit 1; }
mv "$work/images" "$made"
echo "$made"
