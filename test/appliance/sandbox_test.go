// SPDX-License-Identifier: Apache-2.0

package appliance_test

import (
	"context"
	"testing"
	"time"

	"github.com/ovl-restore/ovl-restore/test/vm"
)

// sandbox makes ovl-restore-reconcile.service run a script of sandboxed. What it
// allows has to be enough for the tool to reach the host's overlays.
func (d *device) sandbox() {
	d.t.Helper()
	d.sh(`
		dir=/run/systemd/system/ovl-restore-reconcile.service.d
		mkdir -p $dir
		cat >$dir/test.conf <<-END
			[Service]
			RemainAfterExit=no
			StandardOutput=file:/run/out
			StandardError=file:/run/out
			ExecStart=
			ExecStart=/bin/sh /run/sandboxed
		END
		systemctl daemon-reload`)
}

// sandboxed runs a command as ovl-restore-reconcile.service would, and returns
// its output.
func (d *device) sandboxed(command string) string {
	d.t.Helper()
	d.sh("echo 'exec " + command + "' >/run/sandboxed; : >/run/out; systemctl restart ovl-restore-reconcile.service 2>/dev/null || true")
	return d.sh("cat /run/out")
}

// TestUnits looks at the units as systemd sees them on a device, and runs the
// tool in the sandbox that they make: it must reach the host's overlays from in
// there by each of its ways.
func TestUnits(t *testing.T) {
	d := newDevice(t, vm.Stock)
	d.want("cd /usr/lib/systemd/system && systemd-analyze verify --man=no ovl-restore-*.service 2>&1", "")

	d.sandbox()
	if got, want := d.sandboxed("/usr/bin/readlink /proc/self/ns/mnt"), d.sh("readlink /proc/1/ns/mnt"); got != want {
		t.Errorf("the units have the mount name space %s, everybody else has %s", got, want)
	}

	// Whether the flush reaches the overlay: /etc was listed without the file.
	d.sh("rm /etc/issue && ls /etc >/dev/null")
	wantString(t, d.sandboxed("/usr/bin/ovl-restore /etc /etc/issue"), "restored /etc/issue (remount)")
	d.want("grep -c Debian /etc/issue", "1")

	// Owners, and modes that a sandbox may forbid.
	d.sh("chmod 755 /usr/bin/su && chown 1:1 /usr/bin/chsh")
	wantString(t, d.sandboxed("/usr/bin/ovl-restore --discard -q /usr /usr/bin/su /usr/bin/chsh"), "")
	d.want("stat -c '%a %u' /usr/bin/su /usr/bin/chsh", "4755 0\n4755 0")
	d.want("stat -c %a /data/overlay/usr/upper.ovl-restore/tx/*/backup/* | sort -n | xargs", "755 755")

	// The name of a process of another user that holds the old file open.
	d.sh("echo x >>/etc/issue.net; setpriv --reuid=65534 --clear-groups sleep 1000 </etc/issue.net >/dev/null 2>&1 &")
	wantMatch(t, d.sandboxed("/usr/bin/ovl-restore --discard /etc /etc/issue.net"), `EBUSY.*sleep`)

	// The upper on a device that has to be mounted first.
	d.sh("rm /etc/issue && umount -l /data")
	wantString(t, d.sandboxed("/usr/bin/ovl-restore /etc /etc/issue"), "restored /etc/issue (remount)")

	// Where old files are removed, what is beside an upper stays.
	d.sh("mkdir -p /run/tmpfiles.d && echo 'd /var/tmp 1777 - - 1s' >/run/tmpfiles.d/aged.conf && " +
		"mkdir /var/tmp/u.ovl-restore && touch /var/tmp/u.ovl-restore/backup /var/tmp/old && sleep 2 && systemd-tmpfiles --clean")
	d.want("cd /var/tmp && ls -d old u.ovl-restore/backup 2>/dev/null || true", "u.ovl-restore/backup")

	// The button. udev starts its service; this one is no gpio-keys, but a keyboard.
	// Held for long enough: the request and the reboot, from in there.
	event := d.sh("grep -l 'AT Translated' /sys/class/input/event*/device/name | cut -d / -f 5")
	d.sh("mount /dev/vdc /data; echo 'OPTIONS=--key KEY_POWER --hold 1s' >/etc/default/ovl-restore-button; rules=90-ovl-restore-button.rules; " +
		"mkdir -p /run/udev/rules.d; sed 's/gpio-keys|gpio-keys-polled/atkbd/' /usr/lib/udev/rules.d/$rules >/run/udev/rules.d/$rules; " +
		"udevadm control --reload; udevadm trigger --action=add /sys/class/input/" + event + "; " +
		"timeout 90 sh -c 'until journalctl -o cat -u ovl-restore-button@" + event + " | grep -q watching; do sleep 0.3; done'")
	if _, err := d.guest.Monitor(d.ctx, "sendkey power 3000"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(d.ctx, 3*time.Minute)
	defer cancel()
	if err := d.guest.Gone(ctx); err != nil {
		t.Fatal(err)
	}
}
