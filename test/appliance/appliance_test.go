// SPDX-License-Identifier: Apache-2.0

package appliance_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/ovl-restore/ovl-restore/test/appliance"
	"github.com/ovl-restore/ovl-restore/test/vm"
)

// limit ends what goes on for ever: many times what a test takes.
const limit = 15 * time.Minute

// device is a running test device.
type device struct {
	*appliance.Device

	t     *testing.T
	ctx   context.Context //nolint:containedctx // of the test
	guest *vm.VM
}

// newDevice makes a device and boots it.
func newDevice(t *testing.T, variant vm.Variant) *device {
	t.Helper()
	if testing.Short() {
		t.Skip("boots virtual machines")
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	made, err := appliance.New(ctx, t.TempDir(), variant)
	if err != nil {
		t.Fatal(err)
	}
	d := &device{Device: made, t: t, ctx: ctx}
	t.Cleanup(func() {
		if d.guest == nil {
			return
		}
		if t.Failed() {
			t.Logf("the console:\n%s", d.guest.Console())
		}
		if err := d.guest.Kill(); err != nil {
			t.Error(err)
		}
	})
	start := time.Now()
	if d.guest, err = d.Boot(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("booted slot %s in %.1f s", d.Slot, time.Since(start).Seconds())
	return d
}

// restart shuts the device down and boots the primary slot.
func (d *device) restart() {
	d.t.Helper()
	start := time.Now()
	guest, err := d.Restart(d.ctx, d.guest)
	if err != nil {
		d.t.Fatal(err)
	}
	d.guest = guest
	d.t.Logf("restarted into slot %s in %.1f s", d.Slot, time.Since(start).Seconds())
}

// sh runs a script on the device, which must succeed, and returns its output.
func (d *device) sh(script string) string {
	d.t.Helper()
	start := time.Now()
	out, err := d.guest.Sh(d.ctx, script)
	if err != nil {
		d.t.Fatal(err)
	}
	if took := time.Since(start); took > 2*time.Second {
		d.t.Logf("%.1f s: %s", took.Seconds(), script)
	}
	return strings.TrimSuffix(out, "\n")
}

// want requires a script's output.
func (d *device) want(script, want string) {
	d.t.Helper()
	if got := d.sh(script); got != want {
		d.t.Errorf("%s\ngot  %q\nwant %q", script, got, want)
	}
}

func TestDeviceUpdates(t *testing.T) {
	d := newDevice(t, vm.Stock)
	d.want(". /etc/os-release; echo $IMAGE_VERSION", "1")
	d.want("systemctl list-units --failed --plain --no-legend", "")
	d.want("findmnt -rn -t overlay -o TARGET | sort | xargs", "/etc /home /opt /root /usr /var")
	d.want("sed -i 's/80/8080/' /etc/app/app.conf; cat /etc/app/app.conf", "port = 8080")
	d.sh("rauc install " + appliance.Update)

	d.restart()
	d.want(". /etc/os-release; echo $IMAGE_VERSION", "2")
	d.want("rauc status --output-format=shell | grep ^RAUC_SYSTEM_BOOTED_BOOTNAME", "RAUC_SYSTEM_BOOTED_BOOTNAME='B'")
	d.want("cat /etc/app/app.conf", "port = 8080")
}
