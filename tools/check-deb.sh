#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# check-deb.sh DIRECTORY: the Debian packages of DIRECTORY in a bare Debian 12: DKMS
# builds the module for Debian's newest kernel in a chroot; then that kernel, with
# the module, is booted in QEMU, where check-deb-guest.sh installs the package, lets
# its services work through an update and a factory reset, and purges it: nothing
# may be left. As root; takes some minutes, and what it downloads.
set -euo pipefail

debs=$(realpath "$1")
here=$(realpath "$(dirname "$0")")
"$here/need.sh" mmdebstrap=mmdebstrap qemu-system-x86_64=qemu-system-x86 mke2fs=e2fsprogs
# In memory where there is room: installing packages is thousands of fsyncs.
[ -d /dev/shm ] && [ "$(df --output=avail -m /dev/shm | tail -n 1)" -gt 6144 ] && export TMPDIR=/dev/shm
root=$(mktemp -d)
work=$(mktemp -d)
trap 'umount -l "$work/dkms/proc" "$work/dkms/dev" "$work/dkms/deb" "$work/dkms" "$work/layers" 2>/dev/null || true; rm -rf --one-file-system "$root" "$work"' EXIT

die() { echo "check-deb.sh: $*" >&2; exit 1; }

echo "== a bare Debian 12 ($SECONDS s)"
mmdebstrap --quiet --variant=minbase --include=systemd-sysv,udev,kmod,initramfs-tools,zstd,linux-image-cloud-amd64 \
	bookworm "$root" 2>"$work/log" || { cat "$work/log"; die "mmdebstrap"; }
kernel=$(cd "$root/lib/modules" && ls)

echo "== DKMS ($SECONDS s)"
mkdir "$work/dkms" "$work/layers"
mount -t tmpfs tmpfs "$work/layers"
mkdir "$work/layers"/{upper,work}
mount -t overlay overlay -o "lowerdir=$root,upperdir=$work/layers/upper,workdir=$work/layers/work" "$work/dkms"
mount -t proc proc "$work/dkms/proc"
mount --rbind /dev "$work/dkms/dev"
mount --make-rslave "$work/dkms/dev"
mkdir "$work/dkms/deb"
mount --bind "$debs" "$work/dkms/deb"
inside() { chroot "$work/dkms" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"; }
inside apt-get update -qq
inside sh -c "apt-get install -y -qq --no-install-recommends dkms linux-source-6.1 linux-headers-$kernel /deb/ovl-restore-dkms_*_all.deb" \
	>"$work/log" 2>&1 || { tail -n 60 "$work/log"; cat "$work"/dkms/var/lib/dkms/*/*/build/make.log || true; die "install ovl-restore-dkms"; }
inside dkms status
module=$(cd "$work/dkms" && find lib/modules -path '*updates/dkms/overlay.ko*')
[ -n "$module" ] || { tail -n 40 "$work/log"; die "no module was built"; }
[[ $(inside modinfo -F vermagic "/$module") = "$kernel "* ]] || die "$module is for another kernel"
mkdir -p "$root/$(dirname "$module")"
cp "$work/dkms/$module" "$root/$module"
chroot "$root" depmod "$kernel"
inside apt-get purge -y -qq ovl-restore-dkms >"$work/log" 2>&1 || { cat "$work/log"; die "purge ovl-restore-dkms"; }
[ -z "$(cd "$work/dkms" && find lib/modules usr/src var/lib/dkms -path '*ovl-restore*' -o -path '*updates/dkms/overlay*')" ] ||
	die "ovl-restore-dkms leaves something"
umount -l "$work/dkms/proc" "$work/dkms/dev" "$work/dkms/deb" "$work/dkms" "$work/layers"

echo "== the disk ($SECONDS s)"
echo '/dev/vda / ext4 defaults 0 1' >"$root/etc/fstab"
# Less for a slow processor to pack; and what the card of an emulated machine is,
# initramfs-tools cannot know in a chroot.
echo 'MODULES=list' >"$root/etc/initramfs-tools/conf.d/check"
printf 'virtio_pci\nvirtio_blk\next4\n' >>"$root/etc/initramfs-tools/modules"
mkdir "$root/root/deb"
cp "$debs"/ovl-restore_*_amd64.deb "$root/root/deb"
cp "$here/check-deb-guest.sh" "$root/root/check"
cat >"$root/etc/systemd/system/check.service" <<-'EOF'
	[Unit]
	After=multi-user.target
	[Service]
	Type=oneshot
	ExecStart=/root/check
	[Install]
	WantedBy=multi-user.target
EOF
chroot "$root" systemctl enable --quiet check.service
chroot "$root" systemctl mask --quiet serial-getty@ttyS0.service
chroot "$root" update-initramfs -u >"$work/log" 2>&1 || { cat "$work/log"; die "update-initramfs"; }
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*
cp "$root/boot/vmlinuz-$kernel" "$work/vmlinuz"
truncate -s 1500M "$work/disk"
mke2fs -q -t ext4 -d "$root" "$work/disk"

boots=0
until grep -q '^check: DONE' "$work/said" 2>/dev/null; do
	boots=$((boots + 1))
	[ "$boots" -le 6 ] || die "it boots for ever"
	echo "== boot $boots ($SECONDS s)"
	# The guest makes the initramfs anew.
	debugfs -R "dump /boot/initrd.img-$kernel $work/initrd" "$work/disk" 2>/dev/null
	timeout 600 qemu-system-x86_64 -machine pc -accel tcg,thread=multi -cpu max -smp 2 -m 1024 -display none -nodefaults -no-reboot \
		-serial "file:$work/console" -serial "file:$work/said" -drive "file=$work/disk,if=virtio,format=raw,cache=unsafe" \
		-kernel "$work/vmlinuz" -initrd "$work/initrd" \
		-append 'root=/dev/vda ro console=ttyS0 quiet panic=-1 systemd.show_status=0' </dev/null ||
		{ tail -n 30 "$work/console" "$work/said"; die "boot $boots"; }
	cat "$work/said"
	! grep -q '^check: FAILED' "$work/said" || die "see above"
	grep -q '^check: step' "$work/said" || { tail -n 30 "$work/console"; die "boot $boots came to nothing"; }
done
echo "check-deb.sh: installed, used through an update and a factory reset, purged ($SECONDS s)"
