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

# The mount goes away with the name space.
[ -d /mnt ] || mkdir /mnt
mount -t tmpfs demo /mnt
cd /mnt

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

bin=/mnt/.bin
mkdir "$bin"
case $tool in
*/*) ln -s "$tool" "$bin/ovl-restore" ;;
esac

mkdir image upper work etc
mkdir -p image/nginx image/ssl
echo 'worker_processes auto;' >image/nginx/nginx.conf
echo 'include mime.types;' >image/nginx/site.conf
echo 'MinProtocol = TLSv1.2' >image/ssl/openssl.cnf

say "A device: a read-only image below, a small writable upper, merged on /mnt/etc."
run "mount -t overlay overlay -o lowerdir=/mnt/image,upperdir=/mnt/upper,workdir=/mnt/work${OVL_DEMO_OPTIONS:-} /mnt/etc"
run "ls /mnt/etc/nginx /mnt/etc/ssl"

say "Somebody deletes a file of the image. In the upper, a whiteout hides it for ever."
run "rm /mnt/etc/nginx/nginx.conf"
run "ls -l /mnt/upper/nginx"

say "ovl-restore brings it back, on the running system, and verifies it."
run "ovl-restore --state /mnt/etc /mnt/etc/nginx/nginx.conf"
run "ovl-restore /mnt/etc /mnt/etc/nginx/nginx.conf"
run "cat /mnt/etc/nginx/nginx.conf"

say "An edited file is an old copy after the next update. It is not dropped unasked..."
run "echo 'MinProtocol = TLSv1.0' >/mnt/etc/ssl/openssl.cnf"
refused "ovl-restore /mnt/etc /mnt/etc/ssl/openssl.cnf"

say "... and when asked, not without a backup."
run "ovl-restore --discard /mnt/etc /mnt/etc/ssl/openssl.cnf"
run "cat /mnt/etc/ssl/openssl.cnf"
run "cat /mnt/upper.ovl-restore/tx/*/backup/1"

say "A directory that was deleted and made anew is opaque: nothing of the image shows in it."
run "rm -r /mnt/etc/nginx && mkdir /mnt/etc/nginx && echo mine >/mnt/etc/nginx/my.conf"
refused "ovl-restore /mnt/etc /mnt/etc/nginx/site.conf"
run "ovl-restore --recursive /mnt/etc /mnt/etc/nginx"
run "ls /mnt/etc/nginx"
