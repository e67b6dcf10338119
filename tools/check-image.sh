#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# check-image.sh PROGRAM: make two small images by the functions of the Yocto
# layer's image class, as BitBake runs them: under pseudo, by a user who is not
# root. Then boot through the pre-init template, with six overlays, in a mount name
# space of its own: the first image with the user's changes; the second, which has
# to know from the first one's manifest what the user never changed; and after a
# request for a factory reset. As root.
#
# shellcheck disable=SC2016 # what init does is expanded there
set -euo pipefail

program=$(realpath "$1")
layer=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../yocto/meta-ovl-restore")
if [ "${2-}" != inside ]; then
	exec unshare --mount --propagation private "$0" "$program" inside
fi

die() { echo "check-image.sh: $*" >&2; exit 1; }
work=$(mktemp -d)
# Lazily: what fails in between leaves mounts below it.
trap 'umount -l "$work"; rmdir "$work"' EXIT
mount -t tmpfs -o mode=755 tmpfs "$work"
mkdir "$work"/{bin,build,data}
cp "$program" "$work/bin/ovl-restore"

# The class's functions. What Python there is in them asks whether the image has
# overlayfs-etc: true.
{
	sed -n '/^ovl_restore_[a-z]*() {/,/^}/p' "$layer/classes-recipe/ovl-restore-image.bbclass" | sed 's/\${@.*}/true/'
	cat <<-'END'
		bbfatal() { echo "$*" >&2; exit 1; }
		set -e
		ovl_restore_template
		ovl_restore_files
		ovl_restore_identity
	END
} >"$work/class.sh"
shellcheck --shell=sh --exclude=SC2154,SC2086,SC2046 "$work/class.sh"
printf '[store]\nmax-count = 3\n' >"$work/50-image.toml"
echo '/etc/machine-id' >"$work/50-image.conf"
export OVL_RESTORE_IMAGE_ID=test OVL_RESTORE_MANIFEST=1 OVL_RESTORE_POLICY='' nonarch_libdir=/usr/lib datadir=/usr/share \
	OVL_RESTORE_CONFIG="$work/50-image.toml" OVL_RESTORE_KEEP="$work/50-image.conf" REPRODUCIBLE_TIMESTAMP_ROOTFS=1000000000 \
	OVL_RESTORE_TEMPLATE="$layer/files/overlayfs-etc-preinit.sh.in" OVL_RESTORE_OVERLAYS=''
for dir in etc root home var usr opt; do # Calculinux'
	OVL_RESTORE_OVERLAYS+="/$dir:/data/overlay/$dir "
done

# image VERSION: make its root file system, as $work/VERSION.
image() {
	local build=$work/build/$1
	export OVL_RESTORE_IMAGE_VERSION=$1 IMAGE_ROOTFS=$build/rootfs WORKDIR=$build
	mkdir "$build"
	cat >"$build/make.sh" <<-END
		set -e
		mkdir -p $IMAGE_ROOTFS
		cd $IMAGE_ROOTFS
		mkdir -p bin proc sys data etc usr/lib usr/bin usr/share
		cp $(command -v busybox) bin/busybox
		cp $program usr/bin/ovl-restore
		for applet in sh mount umount mkdir cat echo touch rm [ ; do ln -s busybox bin/\$applet; done
		echo 'ID=test' >usr/lib/os-release
		ln -s ../usr/lib/os-release etc/os-release
		echo image $1 | tee etc/copied usr/share/removed >etc/edited
		chown 12:34 etc/copied
		mknod usr/lib/node c 1 3
		. $work/class.sh
		tar --numeric-owner -cf $build/image.tar .
	END
	chown -R 65534:65534 "$build"
	setpriv --reuid 65534 --regid 65534 --clear-groups env HOME="$build" PSEUDO_LOCALSTATEDIR="$build/pseudo" \
		PATH="$work/bin:$PATH" fakeroot-pseudo sh "$build/make.sh" || die "image $1 was not made"
	mkdir "$work/$1"
	mount -t tmpfs tmpfs "$work/$1"
	tar -C "$work/$1" --numeric-owner -xf "$build/image.tar"
	# As overlayfs-etc.bbclass makes it of the template; the device is a directory here.
	python3 - "$build/ovl-restore-preinit.sh.in" >"$work/$1/bin/preinit" <<-'END'
		import sys
		print(open(sys.argv[1]).read().format(OVERLAYFS_ETC_MOUNT_POINT='/data', OVERLAYFS_ETC_FSTYPE='none',
		    OVERLAYFS_ETC_MOUNT_OPTIONS='bind', OVERLAYFS_ETC_DEVICE='/persist', OVERLAYFS_ETC_EXPOSE_LOWER='true',
		    CREATE_MOUNT_DIRS='false', SBIN_INIT_NAME='/bin/init-of-the-test'), end='')
	END
	shellcheck --exclude=SC2050,SC2078,SC2086 "$work/$1/bin/preinit"
	chmod +x "$work/$1/bin/preinit"
	mkdir "$work/$1/persist"
	mount --bind "$work/data" "$work/$1/persist"
}

# boot IMAGE COMMANDS: what init does then.
boot() {
	printf '#!/bin/sh\nset -e\nmount -t proc proc /proc\n%s\n' "$2" >"$work/$1/bin/init-of-the-test"
	chmod +x "$work/$1/bin/init-of-the-test"
	unshare --mount chroot "$work/$1" /bin/preinit || die "image $1 did not boot to the end of: $2"
}

image 1
image 2
readonly manifest=$work/1/usr/share/ovl-restore/manifest.jsonl
[ "$(stat -c %u:%g "$work/1/etc/copied")" = 12:34 ] || die "pseudo pretended nothing"
grep -q '"p":"etc/copied".*"u":12,"g":34' "$manifest" || die "the manifest has not the image's owners"
grep -q '"p":"usr/lib/node","t":"[^"]*","m":[0-9]*,"r":259' "$manifest" || die "the manifest has not the image's devices"
for file in "$manifest" "$work/1/usr/lib/os-release"; do
	[ "$(stat -c %Y "$file")" = "$REPRODUCIBLE_TIMESTAMP_ROOTFS" ] || die "$file has the time of the build"
done

# A program copies a file up as it is; the user edits one, and removes one. Nothing
# records that: no service runs here.
boot 1 'echo user >/etc/edited; touch /etc/copied; rm /usr/share/removed; echo mine >/opt/mine; echo id >/etc/machine-id'
boot 1 '[ "$(cat /etc/edited)" = user ]; [ ! -e /usr/share/removed ]; [ "$(cat /opt/mine)" = mine ]'
boot 2 '[ "$(cat /etc/copied)" = "image 2" ]; [ "$(cat /etc/edited)" = user ]; [ ! -e /usr/share/removed ]; [ "$(cat /opt/mine)" = mine ]'
boot 2 'ovl-restore reset request --yes'
boot 2 '[ "$(cat /etc/edited)" = "image 2" ]; [ "$(cat /usr/share/removed)" = "image 2" ]; [ ! -e /opt/mine ]; [ "$(cat /etc/machine-id)" = id ]'
echo "check-image.sh: two images with their manifests, of six overlays; a new image was reconciled, and a reset done"
