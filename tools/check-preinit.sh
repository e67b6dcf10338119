#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# check-preinit.sh PROGRAM: boot three times through the Yocto layer's pre-init
# template, in a root directory and a mount name space of its own: the first time
# with the user's changes, then with a new image, then after a request for a
# factory reset. As root.
#
# shellcheck disable=SC2016 # what init does is expanded there
set -euo pipefail

program=$(realpath "$1")
template=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../yocto/meta-ovl-restore/files/overlayfs-etc-preinit.sh.in")
if [ "${2-}" != inside ]; then
	exec unshare --mount --propagation private "$0" "$program" inside
fi

die() { echo "check-preinit.sh: $*" >&2; exit 1; }
root=$(mktemp -d)
mount -t tmpfs tmpfs "$root"
mkdir -p "$root"/{bin,proc,sys,dev,tmp,data,persist,etc,image}
for dir in usr lib lib64 sbin; do
	[ -d "/$dir" ] || continue
	mkdir -p "$root/$dir"
	mount --bind "/$dir" "$root/$dir"
done
cp -L /bin/* "$root/bin/" 2>/dev/null || true
cp "$program" "$root/bin/ovl-restore"

# As overlayfs-etc.bbclass does; the device is a directory here.
sed -e 's|{OVERLAYFS_ETC_MOUNT_POINT}|/data|g; s|{OVERLAYFS_ETC_FSTYPE}|none|; s|{OVERLAYFS_ETC_MOUNT_OPTIONS}|bind|' \
	-e 's|{OVERLAYFS_ETC_DEVICE}|/persist|; s|{OVERLAYFS_ETC_EXPOSE_LOWER}|true|; s|{CREATE_MOUNT_DIRS}|false|' \
	-e 's|{SBIN_INIT_NAME}|/bin/init-of-the-test|' "$template" >"$root/bin/preinit"
! grep -n '[{}]' "$root/bin/preinit" || die "the class knows no such names"
shellcheck --exclude=SC2050,SC2078 "$root/bin/preinit"
chmod +x "$root/bin/preinit"

# boot COMMANDS: what init does then.
boot() {
	printf '#!/bin/sh\nset -e\nmount -t proc proc /proc\n%s\n' "$1" >"$root/bin/init-of-the-test"
	chmod +x "$root/bin/init-of-the-test"
	unshare --mount chroot "$root" /bin/preinit || die "boot: $1"
}
image() {
	printf 'IMAGE_ID=test\nIMAGE_VERSION=%s\n' "$1" >"$root/etc/os-release"
	echo "image $1" | tee "$root/etc/copied" >"$root/etc/edited"
}

image 1
# The user edits one file, and a program copies another one up as it is.
boot 'echo user >/etc/edited; touch /etc/copied; ovl-restore baseline /etc'
image 2
boot '[ "$(cat /etc/copied)" = "image 2" ]; [ "$(cat /etc/edited)" = user ]; ovl-restore reset request --yes /etc'
boot '[ "$(cat /etc/edited)" = "image 2" ]; ovl-restore diff --exit-code /etc'
echo "check-preinit.sh: a new image was reconciled, and a reset done"
