# The initramfs of a device whose root is an overlay: squashfs below, ext4 above.
PATH=/bin:/sbin:/usr/bin:/usr/sbin
/bin/busybox --install -s
mkdir -p /proc /sys
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
modprobe -a squashfs ext4 overlay evdev 2>/dev/null
mkdir -p /rofs /data /newroot

# Up to here all boots are the same. The line says what is not: something random,
# the time, when the power goes (in microseconds after the reset has begun), and
# more words of the kernel's command line.
cut=0
cp /proc/cmdline /cmdline
if grep -q 'device\.freeze' /proc/cmdline; then
	echo "ovl-vm: freeze"
	read -r random time cut arguments
	echo "$arguments" >>/cmdline
	/vm/guest stir "$random" || exit 1
	date -s "@$time" >/dev/null
fi

modprobe -a virtio_pci virtio_blk
until [ -b /dev/vdb ]; do usleep 10000; done
mount -t squashfs -o ro /dev/vda /rofs || exit 1
mount -t ext4 /dev/vdb /data || exit 1

if [ "$cut" -gt 0 ]; then
	(usleep "$cut"; echo b >/proc/sysrq-trigger) &
fi
/pre-init --lower /rofs --upper /data/upper --work /data/work --command-line /cmdline >/performed 2>&1
cat /performed
if [ "$cut" -gt 0 ]; then # all is done, and the cut is still to come
	wait
fi

mkdir -p /data/upper /data/work
mount -t overlay -o lowerdir=/rofs,upperdir=/data/upper,workdir=/data/work overlay /newroot || exit 1
mount -t tmpfs -o mode=0755 tmpfs /newroot/vm
mkdir /newroot/vm/image
cp /vm/guest /performed /newroot/vm/
sed 's/"Modules":[[][^]]*]/"Modules":[]/' /vm/config.json >/newroot/vm/config.json # they are loaded
mount --move /rofs /newroot/vm/image
mount --move /data /newroot/data
umount /dev /sys /proc
exec switch_root /newroot /vm/guest
