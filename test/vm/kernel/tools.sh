#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# tools.sh [ARCH]: install what the VM harness needs and this machine lacks.
set -euo pipefail

case ${1:-amd64} in
armhf) foreign=(arm-linux-gnueabihf-gcc=gcc-arm-linux-gnueabihf qemu-system-arm=qemu-system-arm) ;;
arm64) foreign=(aarch64-linux-gnu-gcc=gcc-aarch64-linux-gnu qemu-system-aarch64=qemu-system-arm) ;;
*) foreign=() ;;
esac

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
	libcrypto.so.3=libssl3 \
	"${foreign[@]}"
