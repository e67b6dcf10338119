#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# tools.sh: install what the VM harness needs and this machine lacks.
# Looks for commands, not packages: they may come from elsewhere.
set -euo pipefail

# command:Debian package
readonly needed='
qemu-system-x86_64:qemu-system-x86
depmod:kmod
mke2fs:e2fsprogs
mksquashfs:squashfs-tools
patch:patch
make:make
gcc:gcc
strip:binutils
xz:xz-utils
flock:util-linux
'

# The kernel's own build tools are linked against these libraries.
readonly libraries='
libelf.so.1:libelf1
libcrypto.so.3:libssl3
'

missing=()
export PATH="$PATH:/usr/sbin:/sbin"
for entry in $needed; do
	command -v "${entry%%:*}" >/dev/null || missing+=("${entry#*:}")
done
for entry in $libraries; do
	ldconfig -p | grep -q "${entry%%:*}" || missing+=("${entry#*:}")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" != 0 ]; then
	echo "tools.sh: missing: ${missing[*]}; install them as root with apt-get" >&2
	exit 1
fi
export DEBIAN_FRONTEND=noninteractive
install=(apt-get install -y -qq --no-install-recommends "${missing[@]}")
# Package lists may be absent or stale: both show as a failed installation.
"${install[@]}" >/dev/null 2>&1 || { apt-get update -qq && "${install[@]}" >/dev/null; }
