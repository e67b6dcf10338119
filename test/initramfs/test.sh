#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# test.sh CACHE: boot a device whose root is an overlay with an initramfs of
# Debian's initramfs-tools, and with one of dracut, which have our scripts in them:
# used, requested, reset. As root.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
root=$(realpath "$here/../..")
mkdir -p "$1"
cache=$(realpath "$1")
readonly here root cache
export PATH=$PATH:/usr/sbin:/sbin

"$root/tools/need.sh" mmdebstrap=mmdebstrap mksquashfs=squashfs-tools mke2fs=e2fsprogs qemu-system-x86_64=qemu-system-x86

work=$(mktemp -d "$cache/work.XXXXXX")
trap 'rm -rf "$work"' EXIT

# A system that makes initramfs images, with its kernel.
packages=initramfs-tools-core,dracut-core,linux-image-cloud-amd64,busybox-static,udev,kmod,zstd,e2fsprogs,dmsetup
base=$cache/base-$(sha256sum <<<"$packages" | cut -c1-16).tar
if [ ! -e "$base" ]; then
	rm -f "$cache"/base-*.tar
	mmdebstrap --quiet --variant=minbase --mode=root \
		--include="$packages" \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
		bookworm "$work/base.tar"
	mv "$work/base.tar" "$base"
fi
maker=$work/maker
mkdir "$maker"
tar -xf "$base" -C "$maker"
kver=$(basename "$maker"/lib/modules/*)

# The device's image.
image=$work/image
mkdir -p "$image"/{bin,sbin,usr/bin,usr/lib,dev,proc,sys,run,tmp,data,etc/ovl-restore,root,var}
cp "$maker/bin/busybox" "$image/bin/"
cp "$root/build/ovl-restore" "$image/usr/bin/"
for applet in sh cat echo mount umount sync mkdir rm grep poweroff sleep mv ls; do ln -s busybox "$image/bin/$applet"; done
install -m 755 "$here/init" "$image/sbin/init"
echo image >"$image/etc/hostname"
echo ID=device >"$image/etc/os-release"
cp "$here/ovl-restore.toml" "$image/etc/ovl-restore/"
mksquashfs "$image" "$work/image.squashfs" -all-root -noappend -quiet -no-progress -comp zstd

# What our packages, and who makes the device, put there.
install -D -m 755 "$root/build/ovl-restore" "$maker/usr/bin/ovl-restore"
install -D -m 644 "$here/ovl-restore.toml" "$maker/etc/ovl-restore/ovl-restore.toml"
cp -R "$root/integrations/initramfs-tools/." "$maker/etc/initramfs-tools/"
install -m 755 "$here/overlay-root.initramfs-tools" "$maker/etc/initramfs-tools/scripts/local-bottom/zz-overlay-root"
mkdir -p "$maker/etc/initramfs-tools/conf.d"
printf 'OVL_RESTORE_DATA=/dev/vdb\nOVL_RESTORE_DATA_MOUNT=/data\n' >"$maker/etc/initramfs-tools/conf.d/ovl-restore"
printf '%s\n' squashfs overlay ext4 virtio_blk virtio_pci >>"$maker/etc/initramfs-tools/modules"
modules=$maker/usr/lib/dracut/modules.d
cp -R "$root/integrations/dracut/90ovl-restore-reset" "$modules/"
mkdir "$modules/91device-overlay"
install -m 755 "$here/overlay-root.dracut-setup" "$modules/91device-overlay/module-setup.sh"
install -m 755 "$here/overlay-root.dracut" "$modules/91device-overlay/overlay-root.sh"

in_maker() { chroot "$maker" /usr/bin/env PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"; }
mount --bind /proc "$maker/proc"
trap 'umount -l "$maker/proc" || true; rm -rf "$work"' EXIT
in_maker mkinitramfs -o /initramfs-tools.img "$kver"
in_maker dracut --quiet --force --no-hostonly --no-compress --kver "$kver" \
	--modules 'base udev-rules kernel-modules rootfs-block fs-lib ovl-restore-reset device-overlay' \
	--drivers 'squashfs overlay ext4 virtio_blk virtio_pci' /dracut.img
umount "$maker/proc"
trap 'rm -rf "$work"' EXIT

# boot KIND WORDS…: boot once, and print what init says.
boot() {
	local kind=$1
	shift
	timeout 300 qemu-system-x86_64 -machine pc -cpu max -accel tcg,thread=multi -m 512 -nodefaults -display none -no-reboot \
		-kernel "$maker/boot/vmlinuz-$kver" -initrd "$maker/$kind.img" \
		-append "console=ttyS0 panic=-1 root=/dev/vda rootfstype=squashfs ro $*" \
		-serial "file:$work/console" \
		-drive "if=none,id=d0,format=raw,readonly=on,file=$work/image.squashfs" -device virtio-blk-pci,drive=d0 \
		-drive "if=none,id=d1,format=raw,cache=unsafe,file=$work/$kind.disk" -device virtio-blk-pci,drive=d1 </dev/null || true
	tr -d '\r' <"$work/console" | grep -E 'DEVICE:|^ovl-restore|^reset:' || true
}

# expect KIND BOOT TEXT OUTPUT: the output has to have the text.
expect() {
	if ! grep -qF "$3" <<<"$4"; then
		echo "FAIL: $1, boot $2: want \"$3\"; it said:" >&2
		printf '%s\n' "$4" >&2
		tail -40 "$work/console" >&2
		exit 1
	fi
	echo "ok: $1, boot $2: $3"
}

for kind in initramfs-tools dracut; do
	truncate -s 64M "$work/$kind.disk"
	mke2fs -q -t ext4 "$work/$kind.disk"
	words=()
	[ "$kind" = initramfs-tools ] || words=(rd.ovl-restore.data=/dev/vdb:/data)
	expect "$kind" 1 "DEVICE: hostname is image, used, requested" "$(boot "$kind" "${words[@]}" device=request)"
	out=$(boot "$kind" "${words[@]}" device=use)
	expect "$kind" 2 "reset: /; entries kept: 1;" "$out"
	expect "$kind" 2 "DEVICE: hostname is image, kept secret, used" "$out"
	expect "$kind" 3 "DEVICE: hostname is mine, kept secret" "$(boot "$kind" "${words[@]}" device=look)"
	out=$(boot "$kind" "${words[@]}" device=look ovl-restore.reset=1)
	expect "$kind" 4 "reset: /; entries kept: 0;" "$out"
	expect "$kind" 4 "DEVICE: hostname is image" "$out"
done
