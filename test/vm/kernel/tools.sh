#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# tools.sh: install what the VM harness needs and this machine lacks.
set -euo pipefail

# The last two are what the kernel's own build tools are linked against.
exec "$(dirname "$0")/../../../tools/need.sh" \
	qemu-system-x86_64=qemu-system-x86 \
	depmod=kmod \
	mke2fs=e2fsprogs \
	mksquashfs=squashfs-tools \
	patch=patch \
	make=make \
	gcc=gcc \
	strip=binutils \
	xz=xz-utils \
	libelf.so.1=libelf1 \
	libcrypto.so.3=libssl3
