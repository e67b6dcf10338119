#!/bin/sh
# What the device does between two boots: looks whether it is what it has to be,
# is used, and asks for a reset. The power may go at any moment.
#
#	life.sh check        only look
#	life.sh DIFFERENT    look, be used, request
set -u

fail() {
	echo "BAD: $*"
	cat /vm/performed
	ovl-restore reset status
	exit 1
}

# What the root shows, without what is mounted on it, and the image's.
mkdir -p /vm/root
mount --bind / /vm/root
listing() {
	(
		cd "$1" || exit 1
		find . -type d ! -path ./etc/kept | sort | xargs stat -c '%n %f %u %g'
		find . ! -type d ! -path './etc/kept/*' | sort | xargs stat -c '%N %f %u %g %s %Y'
		find . -type f ! -path './etc/kept/*' | sort | xargs md5sum
	)
}

# The reset that was done last, and what the device was before: "dirty LAST"
# while it is used, "used LAST" from then on.
# shellcheck disable=SC2002 # with a file that may be missing
last=$(cat /data/upper.ovl-reset/last 2>/dev/null | md5sum)
was=$(cat /data/was 2>/dev/null)
grep -q 'was not done' /vm/performed && fail "the reset was not done"
ovl-restore reset status --json | grep -Eq '"state":"(none|cleaning)"' || fail "a request still stands after the boot"
case $was in
"used $last") # not reset since
	# shellcheck disable=SC2015 # what follows || cannot be wrongly run
	[ "$(cat /etc/hostname)" = mine ] && [ ! -e /usr/share/doc/a ] && [ -e "/home/user/file 29" ] ||
		fail "not reset, and not as it was used"
	state=used
	;;
"dirty $last" | "") state=unknown ;; # the power went while it was used
*)
	listing /vm/image >/vm/listing.image
	listing /vm/root >/vm/listing.root
	cmp -s /vm/listing.image /vm/listing.root || {
		diff /vm/listing.image /vm/listing.root
		fail "reset, and not the image"
	}
	[ "$(cat /etc/kept/key)" = secret ] || fail "reset, and what is kept is gone"
	[ "$(stat -c '%a %Y' /etc/kept/key)" = "600 1000000000" ] || fail "kept, and with another mode or time"
	state=reset
	;;
esac
echo "STATE $state"
[ "$1" = check ] && exit 0

ovl-restore reset cleanup >/dev/null 2>&1 &

put() {
	echo "$1" >/data/was.new
	sync /data/was.new
	mv /data/was.new /data/was
	sync
}

put "dirty $last"
echo mine >/etc/hostname
rm -rf /usr/share/doc
mkdir -p /usr/share/doc /home/user /etc/kept
echo mine >/usr/share/doc/mine
for i in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29; do
	echo "$1 $i" >"/home/user/file $i"
done
rm -f /usr/bin/tool
mv /etc/motd /etc/motd.mine
chmod 700 /etc/conf.d
if [ ! -e /etc/kept/key ]; then
	(umask 077; echo secret >/etc/kept/key.new)
	touch -d @1000000000 /etc/kept/key.new
	sync
	mv /etc/kept/key.new /etc/kept/key
fi
sync
put "used $last"
wait
ovl-restore reset request --yes --keep /etc/kept >/dev/null || fail "no request"
echo "STATE requested"
