#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# check-deb.sh DIRECTORY: install the Debian packages of DIRECTORY in a bare
# Debian 12 with systemd, look what is there, let the services' commands do their
# work, and purge them: nothing may be left. DKMS builds the module for Debian's
# newest kernel. As root; takes some minutes, and what it downloads.
set -euo pipefail

debs=$(realpath "$1")
"$(dirname "$0")/need.sh" mmdebstrap=mmdebstrap
root=$(mktemp -d)
trap 'umount -l "$root/proc" "$root/dev" "$root/deb" "$root/tmp" 2>/dev/null || true; rm -rf --one-file-system "$root"' EXIT

die() { echo "check-deb.sh: $*" >&2; exit 1; }
inside() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"; }
# What packages leave: not the caches and logs of the package manager.
files() {
	(cd "$root" && find . -xdev \( -path ./proc -o -path ./dev -o -path ./run -o -path ./deb -o -path ./tmp -o -path ./var/cache -o -path ./var/log \
		-o -path ./var/lib/apt -o -path ./var/lib/dpkg \) -prune -o -print | sort)
}

echo "== a bare Debian 12"
mmdebstrap --quiet --variant=minbase --include=systemd-sysv,udev bookworm "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --make-rslave "$root/dev"
mkdir "$root/deb"
mount --bind "$debs" "$root/deb"
mount -t tmpfs tmpfs "$root/tmp"
files >"$root/tmp/before"

echo "== install"
inside sh -c 'apt-get install -y -qq --no-install-recommends /deb/ovl-restore_*_amd64.deb' >"$root/tmp/log" 2>&1 || { cat "$root/tmp/log"; die "install"; }
inside ovl-restore --version
for unit in "$root"/lib/systemd/system/ovl-restore-*.service; do
	[ -e "$unit" ] || continue
	unit=${unit##*/}
	inside systemd-analyze verify --man=no "$unit" || die "$unit"
	echo "$unit: $(inside systemctl is-enabled "$unit" || true)"
done
for unit in reconcile baseline; do
	[ ! -e "$root/lib/systemd/system/ovl-restore-$unit.service" ] ||
		[ "$(inside systemctl is-enabled ovl-restore-$unit.service)" = enabled ] || die "ovl-restore-$unit.service is not enabled"
done

echo "== the services' commands, on an overlay"
cat >"$root/tmp/services" <<'EOS'
set -e
mkdir /tmp/o && mount -t tmpfs tmpfs /tmp/o && cd /tmp/o && mkdir -p lower/etc upper work merged
printf 'IMAGE_ID=test\nIMAGE_VERSION=1\n' >lower/etc/os-release
echo one >lower/file
mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged
touch merged/file
ovl-restore baseline merged
umount merged
printf 'IMAGE_ID=test\nIMAGE_VERSION=2\n' >lower/etc/os-release
echo two >lower/file
mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged
ovl-restore reconcile merged
[ "$(cat merged/file)" = two ]
cd / && umount /tmp/o/merged /tmp/o && rmdir /tmp/o
EOS
unshare --mount --propagation private chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin sh /tmp/services

echo "== purge"
inside apt-get purge -y -qq ovl-restore >"$root/tmp/log" 2>&1 || { cat "$root/tmp/log"; die "purge"; }
files >"$root/tmp/after"
diff "$root/tmp/before" "$root/tmp/after" || die "the package leaves these"

echo "== DKMS"
inside apt-get update -qq
headers=$(inside apt-cache depends linux-headers-cloud-amd64 | sed -n 's/.*Depends: \(linux-headers-6\.1[^ ]*\)/\1/p' | head -n 1)
inside sh -c "apt-get install -y -qq --no-install-recommends dkms linux-source-6.1 $headers /deb/ovl-restore-dkms_*_all.deb" \
	>"$root/tmp/log" 2>&1 || { tail -n 60 "$root/tmp/log"; inside sh -c 'cat /var/lib/dkms/*/*/build/make.log' || true; die "install ovl-restore-dkms"; }
inside dkms status
module=$(cd "$root" && find lib/modules -path '*updates/dkms/overlay.ko*' | head -n 1)
[ -n "$module" ] || { tail -n 40 "$root/tmp/log"; die "no module was built"; }
[ "$(inside modinfo -F name "/$module")" = overlay ] || die "$module is no overlay"
inside apt-get purge -y -qq ovl-restore-dkms >"$root/tmp/log" 2>&1 || { cat "$root/tmp/log"; die "purge ovl-restore-dkms"; }
[ -z "$(cd "$root" && find lib/modules usr/src var/lib/dkms -path '*ovl-restore*' -o -path '*updates/dkms/overlay*')" ] || die "ovl-restore-dkms leaves something"
echo "check-deb.sh: installed, used, purged"
