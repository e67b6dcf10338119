// SPDX-License-Identifier: Apache-2.0

package appliance_test

import (
	"context"
	"regexp"
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

// rebooted waits until the device, which was told to reboot, is up again.
func (d *device) rebooted() {
	d.t.Helper()
	start := time.Now()
	guest, err := d.Reboot(d.ctx, d.guest)
	if err != nil {
		d.t.Fatal(err)
	}
	d.guest = guest
	d.t.Logf("rebooted in %.1f s", time.Since(start).Seconds())
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
		first, _, _ := strings.Cut(strings.TrimSpace(script), "\n")
		d.t.Logf("%.1f s: %s", took.Seconds(), first)
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

func wantString(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// wantMatch requires a line that a pattern matches.
func wantMatch(t *testing.T, got, pattern string) {
	t.Helper()
	if !regexp.MustCompile("(?m)" + pattern).MatchString(got) {
		t.Errorf("got  %q\nwant %s", got, pattern)
	}
}
