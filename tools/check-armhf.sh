#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# check-armhf.sh DIRECTORY: run the program of the armhf package with QEMU's user
# emulation, through the on-device test. As root.
set -euo pipefail
top=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
dpkg-deb -x "$1"/ovl-restore_*_armhf.deb "$work/root"
mkdir "$work/bin"
printf '#!/bin/sh\nexec qemu-arm-static %s/root/usr/bin/ovl-restore "$@"\n' "$work" >"$work/bin/ovl-restore"
chmod +x "$work/bin/ovl-restore"
export PATH=$work/bin:$PATH
ovl-restore --version
"$top/yocto/meta-ovl-restore/recipes-core/ovl-restore/files/run-ptest"
