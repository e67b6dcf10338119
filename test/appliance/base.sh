#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# base.sh FILE: the distribution that the test device's images are made of, as
# an archive. It takes a minute the first time.
set -euo pipefail

readonly out=$1

die() { echo "base.sh: $*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || die "mmdebstrap installs packages in a chroot: run this as root"

# In memory where there is room: installing packages is thousands of fsyncs.
[ -d /dev/shm ] && [ "$(df --output=avail -m /dev/shm | tail -n 1)" -gt 1024 ] && export TMPDIR=/dev/shm

partial=$(mktemp "$out.XXXXXX")
trap 'rm -f "$partial"' EXIT
log=$(mktemp)
# What only the installation needs, or nobody on this device, goes at the end:
# each megabyte is written, read and hashed under emulation.
# shellcheck disable=SC2016 # mmdebstrap's shell expands it
mmdebstrap --variant=essential --mode=root --format=tar \
	--include=systemd,systemd-sysv,udev,dbus,kmod,rauc,rauc-service \
	--dpkgopt='path-exclude=/usr/share/doc/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' \
	--dpkgopt='path-exclude=/usr/share/man/*' \
	--dpkgopt='path-exclude=/usr/share/zoneinfo/*' \
	--customize-hook='cd "$1" && rm -rf usr/share/perl usr/share/perl5 usr/lib/*/perl usr/lib/*/perl-base \
		usr/lib/*/libperl.so* usr/bin/perl* usr/lib/udev/hwdb.* usr/lib/*/gconv usr/share/i18n \
		usr/lib/*/libdb-5.3.so usr/lib/*/libmvec.so* usr/share/bash-completion var/cache/* var/lib/apt/lists' \
	bookworm "$partial" >"$log" 2>&1 || { cat "$log" >&2; rm -f "$log"; die "mmdebstrap failed"; }
rm -f "$log"
mv "$partial" "$out"
