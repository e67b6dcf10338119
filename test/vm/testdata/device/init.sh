# The initramfs of a device whose root is an overlay: squashfs below, ext4 above.
PATH=/bin:/sbin:/usr/bin:/usr/sbin
/bin/busybox --install -s
mkdir -p /proc /sys
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
modprobe -a virtio_pci virtio_blk squashfs overlay evdev 2>/dev/null
mkdir -p /rofs /data /newroot
until [ -b /dev/vdb ]; do usleep 10000; done
mount -t squashfs -o ro /dev/vda /rofs || exit 1
mount -t ext4 /dev/vdb /data || exit 1

# A power cut while the reset is at work: "cut=MICROSECONDS" on the command line.
cut=$(sed -n 's/.*\bcut=\([0-9]*\).*/\1/p' /proc/cmdline)
if [ -n "$cut" ]; then
	(usleep "$cut"; echo b >/proc/sysrq-trigger) &
fi
/usr/bin/ovl-restore reset perform --lower /rofs --upper /data/upper --work /data/work >/performed 2>&1 ||
	echo "perform failed" >>/performed
cat /performed
if [ -n "$cut" ]; then # all is done, and the cut is still to come
	wait
fi

mkdir -p /data/upper /data/work
mount -t overlay -o lowerdir=/rofs,upperdir=/data/upper,workdir=/data/work overlay /newroot || exit 1
mount -t tmpfs -o mode=0755 tmpfs /newroot/vm
mkdir /newroot/vm/image
cp /vm/guest /vm/config.json /performed /newroot/vm/
mount -t tmpfs tmpfs /newroot/lib/modules
cp -r /lib/modules/. /newroot/lib/modules/
mount --move /rofs /newroot/vm/image
mount --move /data /newroot/data
umount /dev /sys /proc
exec switch_root /newroot /vm/guest
