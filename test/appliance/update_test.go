// SPDX-License-Identifier: Apache-2.0

package appliance_test

import (
	"testing"

	"github.com/ovl-restore/ovl-restore/test/appliance"
	"github.com/ovl-restore/ovl-restore/test/vm"
)

// userWork is what the device's user does while the first image runs.
const userWork = `
	cd /etc/app
	echo mine | tee edited.conf same-edited.conf gone-edited.conf >/dev/null
	touch touched.conf same-touched.conf gone-touched.conf
	chmod 600 mode.conf
	rm same-deleted.conf deleted-updated.conf replaced.conf
	mkdir replaced.conf && echo mine >replaced.conf/file
	echo mine >own.conf
	echo mine | tee /usr/share/app/edited /opt/app/edited >/dev/null
	touch /usr/share/app/touched
	rm /usr/share/app/deleted
	mkdir -p /var/lib/app /home/user
	echo mine | tee /var/lib/app/state /home/user/file >/dev/null
	dpkg --remove --force-depends dbus-bin >/dev/null 2>&1
	test ! -e /usr/bin/dbus-monitor`

// tree lists the application's files: type, mode and content of each.
const tree = `
	cd / && ls -d etc/app usr/share/app opt/app var/lib/app home/user 2>/dev/null |
		xargs -I{} find {} -printf '%y %m %p\n' | LC_ALL=C sort -k 3 | while read -r type mode f; do
			[ $type != f ] || read -r content <$f
			[ $type = f ] && echo "$f $mode $content" || echo "$f/ $mode"
		done`

const before = `etc/app/ 755
etc/app/edited.conf 644 mine
etc/app/gone-edited.conf 644 mine
etc/app/gone-touched.conf 644 of image 1
etc/app/mode.conf 600 of both
etc/app/own.conf 644 mine
etc/app/replaced.conf/ 755
etc/app/replaced.conf/file 644 mine
etc/app/same-edited.conf 644 mine
etc/app/same-touched.conf 644 of both
etc/app/touched.conf 644 of image 1
home/user/ 755
home/user/file 644 mine
opt/app/ 755
opt/app/edited 644 mine
usr/share/app/ 755
usr/share/app/edited 644 mine
usr/share/app/touched 644 of image 1
var/lib/app/ 755
var/lib/app/state 644 mine`

// The same with the second image: what the user changed in /etc stays, and what
// the image has there stands beside it; /usr and /opt are the image's; copies
// that the user never changed are gone.
const after = `etc/app/ 755
etc/app/edited.conf 644 mine
etc/app/edited.conf.ovl-new 644 of image 2
etc/app/gone-edited.conf 644 mine
etc/app/mode.conf 600 of both
etc/app/new.conf 644 of image 2
etc/app/own.conf 644 mine
etc/app/replaced.conf/ 755
etc/app/replaced.conf.ovl-new 644 of image 2
etc/app/replaced.conf/file 644 mine
etc/app/same-edited.conf 644 mine
etc/app/same-touched.conf 644 of both
etc/app/touched.conf 644 of image 2
home/user/ 755
home/user/file 644 mine
opt/app/ 755
opt/app/edited 644 of image 2
usr/share/app/ 755
usr/share/app/edited 644 of image 2
usr/share/app/touched 644 of image 2
var/lib/app/ 755
var/lib/app/state 644 mine`

// What the first image itself has.
const factory = `etc/app/ 755
etc/app/deleted-updated.conf 644 of image 1
etc/app/edited.conf 644 of image 1
etc/app/gone-edited.conf 644 of image 1
etc/app/gone-touched.conf 644 of image 1
etc/app/mode.conf 644 of both
etc/app/replaced.conf 644 of image 1
etc/app/same-deleted.conf 644 of both
etc/app/same-edited.conf 644 of both
etc/app/same-touched.conf 644 of both
etc/app/touched.conf 644 of image 1
opt/app/ 755
opt/app/edited 644 of image 1
usr/share/app/ 755
usr/share/app/deleted 644 of both, /usr
usr/share/app/edited 644 of image 1
usr/share/app/touched 644 of image 1`

// uppers lists what the uppers have of the application, with all times.
const uppers = `cd /data/overlay && find */upper \( -path '*app*' -o -path '*/user*' \) -printf '%p %y %m %s %T@\n' | sort`

// failedUnits are the names of the units that failed.
const failedUnits = "systemctl list-units --failed --plain --no-legend | cut -d ' ' -f 1 | sort | xargs"

// TestUpdate takes a device through its life: the user's work, an update by RAUC
// into the other slot, back to the first slot, and a factory reset.
func TestUpdate(t *testing.T) {
	d := newDevice(t, vm.Stock)
	d.want(failedUnits, "")
	d.want("findmnt -rn -t overlay -o TARGET | sort | xargs", "/etc /home /opt /root /usr /var")
	d.sh(userWork)
	d.want(tree, before)
	d.sh("rauc install " + appliance.Update)

	d.restart()
	d.want("rauc status --output-format=shell | grep ^RAUC_SYSTEM_BOOTED_BOOTNAME", "RAUC_SYSTEM_BOOTED_BOOTNAME='B'")
	d.want(failedUnits, "")
	d.want(tree, after)
	// A service has read what the reconciled tree has.
	d.want("cat /run/app.read", "of image 2")
	// dpkg's hook has asked for what the image ships.
	d.sh("test -e /usr/bin/dbus-monitor")
	// What was done shows where people and programs look.
	wantMatch(t, d.sh("systemctl status ovl-restore-reconcile.service"),
		`Status: "6 overlays on IMAGE_ID=test-device IMAGE_VERSION=2: [0-9]+ entries changed, [0-9]+ of the user kept"`)
	d.want("journalctl -b -o cat --output-fields=OVL_RESTORE_FROM,OVL_RESTORE_CHANGED OVL_RESTORE_OVERLAY=/opt OVL_RESTORE_STATUS=reconciled | sort",
		"1\nIMAGE_ID=test-device IMAGE_VERSION=1")
	// RAUC has called the slot good, and so has the update been confirmed.
	d.want(`ovl-restore status --json /etc | grep -o '"confirmed":[a-z]*'`, `"confirmed":true`)

	// With no record, the slot that RAUC calls inactive has the image before.
	d.sh("mkdir /etc/ovl-restore; printf '[base]\\nrauc = true\\n' >/etc/ovl-restore/ovl-restore.toml; cd /data/overlay/etc; mv upper.ovl-restore aside")
	wantMatch(t, d.sh("ovl-restore reconcile --dry-run /etc"), `/etc/app/edited.conf.*conflict`)
	d.want("cd /data/overlay/etc; ls; mv aside upper.ovl-restore; rm -r /etc/ovl-restore", "aside\nupper\nwork")

	// Back, with a configuration that cannot be read: everything is as it was, the
	// device boots on, and it is said once.
	d.sh("mkdir /etc/ovl-restore; printf '[reconcile]\\nprune-orphan = true\\n' >/etc/ovl-restore/ovl-restore.toml; rauc status mark-active other")
	untouched := d.sh(uppers)
	d.restart()
	d.want("systemctl is-active multi-user.target", "active")
	d.want("rauc status --output-format=shell | grep ^RAUC_SYSTEM_BOOTED_BOOTNAME", "RAUC_SYSTEM_BOOTED_BOOTNAME='A'")
	d.want(uppers, untouched)
	d.want(failedUnits, "ovl-restore-reconcile.service ovl-restore-reset-cleanup.service")
	d.want("journalctl -b -o cat -u ovl-restore-reconcile.service | grep -c prune-orphan", "1")
	wantMatch(t, d.sh("systemctl status ovl-restore-reconcile.service || true"), `ovl-restore.toml:2: .*prune-orphan`)

	// Nor does a device reboot for a reset that could not be asked for.
	d.sh("systemctl start factory-reset.target")
	d.want("systemctl is-failed ovl-restore-reset-request.service; systemctl list-jobs --no-legend; systemctl reset-failed", "failed")

	// Mended, the update's transactions are undone: the state before it.
	d.sh("rm -r /etc/ovl-restore; systemctl restart ovl-restore-reconcile.service ovl-restore-reset-cleanup.service")
	d.want(tree, before)
	d.sh("test ! -e /usr/bin/dbus-monitor")
	d.want("journalctl -b -o cat --output-fields=OVL_RESTORE_FROM,OVL_RESTORE_TO OVL_RESTORE_OVERLAY=/opt OVL_RESTORE_STATUS=rolled-back | sort",
		"IMAGE_ID=test-device IMAGE_VERSION=1\nIMAGE_ID=test-device IMAGE_VERSION=2")
	d.want(failedUnits, "")

	// systemd's way to reset a device.
	d.sh("systemctl start --no-block factory-reset.target")
	d.rebooted()
	d.want(tree, factory)
	d.want(failedUnits, "")
	wantMatch(t, d.sh("ovl-restore reset status"), `^the last reset, requested by factory-reset.target, was done`)
	d.want("until [ $(systemctl is-active ovl-restore-reset-cleanup.service) != active ]; do sleep 0.2; done; "+
		"systemctl show -P Result ovl-restore-reset-cleanup.service; ls -d /data/overlay/*/upper.ovl-reset/old 2>/dev/null || true", "success")
	wantMatch(t, d.sh("systemctl show -P StatusText ovl-restore-reconcile.service"), `^6 overlays on IMAGE_ID=test-device IMAGE_VERSION=1: `)
}
