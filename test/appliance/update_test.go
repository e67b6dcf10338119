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
	echo mine | tee /var/lib/app/state /home/user/file >/dev/null`

// tree lists the application's files: type, mode and content of each.
const tree = `
	cd / && find etc/app usr/share/app opt/app var/lib/app home/user | sort | while read -r f; do
		[ -f $f ] && echo "$f $(stat -c %a $f) $(cat $f)" || echo "$f/ $(stat -c %a $f)"
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

// TestUpdate takes a device through its life: the user's work, an update by
// RAUC into the other slot.
func TestUpdate(t *testing.T) {
	d := newDevice(t, vm.Stock)
	d.want("systemctl list-units --failed --plain --no-legend", "")
	d.want("findmnt -rn -t overlay -o TARGET | sort | xargs", "/etc /home /opt /root /usr /var")
	d.sh(userWork)
	d.want(tree, before)
	d.sh("rauc install " + appliance.Update)

	d.restart()
	d.want("rauc status --output-format=shell | grep ^RAUC_SYSTEM_BOOTED_BOOTNAME", "RAUC_SYSTEM_BOOTED_BOOTNAME='B'")
	d.want("systemctl list-units --failed --plain --no-legend", "")
	d.want(tree, after)
	// A service has read what the reconciled tree has.
	d.want("cat /run/app.read", "of image 2")
	// What was done shows where people and programs look.
	wantMatch(t, d.sh("systemctl status ovl-restore-reconcile.service"),
		`Status: "6 overlays on IMAGE_ID=test-device IMAGE_VERSION=2: 9 entries changed, [0-9]+ of the user kept"`)
	d.want("journalctl -b -o cat --output-fields=OVL_RESTORE_FROM,OVL_RESTORE_CHANGED OVL_RESTORE_OVERLAY=/usr OVL_RESTORE_STATUS=reconciled | sort",
		"2\nIMAGE_ID=test-device IMAGE_VERSION=1")
}
