#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# dracut, pre-pivot: carry out a factory reset that was requested. The root is
# mounted on $NEWROOT. The overlays are those of [[overlay]] in the configuration,
# or of the root's fstab and mount units. Where the uppers are on a file system
# of their own, rd.ovl-restore.data=DEVICE:MOUNTPOINT on the kernel command line
# mounts it for this.

# dracut sources this file: no exit here.
ovl_restore_reset() {
	data=$(getarg rd.ovl-restore.data=) || data=
	point=$NEWROOT${data#*:}
	if [ -n "$data" ] && ! mount "${data%%:*}" "$point"; then
		return 0
	fi
	ovl-restore reset perform --root "$NEWROOT" || warn "ovl-restore: the reset was not done; booting on"
	if [ -n "$data" ]; then
		umount "$point"
	fi
	return 0
}
ovl_restore_reset
