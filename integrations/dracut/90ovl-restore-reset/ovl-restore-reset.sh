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
	was_readonly=
	if [ -z "$data" ]; then
		if ovl-restore reset perform --root "$NEWROOT" 2>/dev/null; then
			return 0
		fi
		# A reset is due, and the uppers are on the root's file system.
		[ -w "$NEWROOT" ] || { mount -o remount,rw "$NEWROOT" && was_readonly=yes; }
	fi
	ovl-restore reset perform --root "$NEWROOT" || warn "ovl-restore: the reset was not done; booting on"
	if [ -n "$data" ]; then
		umount "$point"
	fi
	[ -z "$was_readonly" ] || mount -o remount,ro "$NEWROOT"
	return 0
}
ovl_restore_reset
