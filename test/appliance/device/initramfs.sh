#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Process 1 of the test device, in its initramfs (a busybox shell): what a boot
# loader and an initramfs do, and what the test harness needs in the root.
set -e
busybox=/bin/busybox
$busybox mkdir -p /proc /sys /dev /run /mnt
$busybox mount -t proc proc /proc
$busybox mount -t sysfs sysfs /sys
$busybox mount -t devtmpfs devtmpfs /dev
$busybox mount -t tmpfs -o mode=0755 run /run
$busybox modprobe -a overlay virtio_pci virtio_blk loop squashfs dm_mod dm_verity evdev

case " $($busybox cat /proc/cmdline) " in
*" rauc.slot=A "*) device=/dev/vda ;;
*" rauc.slot=B "*) device=/dev/vdb ;;
*) echo "no rauc.slot on the command line"; exit 1 ;;
esac
# The driver finds the disks in its own time.
until [ -b /dev/vdc ]; do $busybox sleep 0.1; done
$busybox mount -t squashfs -o ro $device /mnt

# The harness's agent, as a service.
$busybox mount -t tmpfs -o mode=0755 vm /mnt/vm
$busybox cp -a /vm/. /mnt/vm
units=/run/systemd/system
$busybox mkdir -p $units/multi-user.target.wants
$busybox cat >$units/vm-agent.service <<UNIT
[Unit]
Description=Agent of the test harness
Before=shutdown.target
[Service]
ExecStart=/vm/guest agent
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
KillMode=process
UNIT
$busybox ln -s ../vm-agent.service $units/multi-user.target.wants/vm-agent.service

for dir in proc sys dev run; do
	$busybox mount --move /$dir /mnt/$dir
done
exec $busybox switch_root /mnt /usr/sbin/preinit
