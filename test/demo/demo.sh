#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The story of a deleted file, on a throw-away overlay in a private mount name
# space: nothing on the host changes, and all of it is gone at the end. Every
# line behind a "$" is a command that is really run, and what follows is its
# real output. The name space is made with unshare(1), as root or as anybody; in
# a virtual machine, which is private anyway, OVL_DEMO=inside leaves that out.
#
# usage: demo.sh [OVL-RESTORE]
set -eu

tool=${1:-ovl-restore}
case $tool in
*/*) tool=$(cd "$(dirname "$tool")" && pwd)/$(basename "$tool") ;;
esac

if [ "${OVL_DEMO:-}" != inside ]; then
	export OVL_DEMO=inside
	if [ "$(id -u)" = 0 ]; then
		exec unshare --mount -- "$0" "$tool"
	fi
	# Not root: root of a user name space of its own, with user.* xattrs.
	export OVL_DEMO_OPTIONS=,userxattr
	exec unshare --map-root-user --mount -- "$0" "$tool"
fi

device=$(mktemp -d)
# The mounts go away with the name space; in a virtual machine, with it.
trap 'cd / && umount -l "$device" && rmdir "$device"' EXIT
mount -t tmpfs demo "$device"
cd "$device"

bold='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
	bold=$(printf '\033[1m') plain=$(printf '\033[0m')
fi
say() { printf '\n%s# %s%s\n' "$bold" "$*" "$plain"; }
run() {
	printf '$ %s\n' "$*"
	PATH=$bin:$PATH sh -c "$*" 2>&1
}
# What must fail here, does: the demo stops if it does not.
refused() {
	if run "$@"; then
		echo "demo: that should have been refused" >&2
		exit 1
	fi
}

bin=$device/.bin
mkdir "$bin"
case $tool in
*/*) ln -s "$tool" "$bin/ovl-restore" ;;
esac

mkdir image upper work etc
mkdir -p image/nginx image/ssl
echo 'worker_processes auto;' >image/nginx/nginx.conf
echo 'include mime.types;' >image/nginx/site.conf
echo 'MinProtocol = TLSv1.2' >image/ssl/openssl.cnf

say "A device: a read-only image below, a small writable upper, merged on etc."
run "mount -t overlay overlay -o lowerdir=image,upperdir=upper,workdir=work${OVL_DEMO_OPTIONS:-} etc"
run "ls etc/nginx etc/ssl"

say "Somebody deletes a file of the image. In the upper, a whiteout hides it for ever."
run "rm etc/nginx/nginx.conf"
run "ls -l upper/nginx"

say "ovl-restore brings it back, on the running system, and verifies it."
run "ovl-restore --state etc etc/nginx/nginx.conf"
run "ovl-restore etc etc/nginx/nginx.conf"
run "cat etc/nginx/nginx.conf"

say "An edited file is an old copy after the next update. It is not dropped unasked..."
run "echo 'MinProtocol = TLSv1.0' >etc/ssl/openssl.cnf"
refused "ovl-restore etc etc/ssl/openssl.cnf"

say "... and when asked, not without a backup."
run "ovl-restore --discard etc etc/ssl/openssl.cnf"
run "cat etc/ssl/openssl.cnf"
run "cat upper.ovl-restore/tx/*/backup/1"

say "A directory that was deleted and made anew is opaque: nothing of the image shows in it."
run "rm -r etc/nginx && mkdir etc/nginx && echo mine >etc/nginx/my.conf"
refused "ovl-restore etc etc/nginx/site.conf"
run "ovl-restore --recursive etc etc/nginx"
run "ls etc/nginx"
