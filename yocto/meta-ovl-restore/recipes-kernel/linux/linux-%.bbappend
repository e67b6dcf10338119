# SPDX-License-Identifier: Apache-2.0
#
# Adds the ioctls to overlayfs of any kernel recipe named linux-*, where the
# distribution has the feature. Without it, no variable and no signature changes:
# so FILESEXTRAPATHS, too, is set in the file that is included. What is named
# linux-* and is no kernel (linux-firmware, linux-libc-headers) is left alone.

require ${@'ovl-restore-kernel.inc' if bb.utils.contains('DISTRO_FEATURES', 'ovl-restore', True, False, d) and bb.data.inherits_class('kernel', d) else ''}
