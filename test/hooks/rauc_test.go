// SPDX-License-Identifier: Apache-2.0

package hooks

import "testing"

// TestRAUC runs the hook as RAUC does: the bundle's for each slot, with what is
// going on as its argument and the slot in the environment, and the device's
// handler without an argument. test/appliance has the real RAUC run it.
func TestRAUC(t *testing.T) {
	d := newDevice(t)
	hook := d.hook("rauc/post-install")
	t.Setenv("RAUC_SLOT_NAME", "rootfs.1")
	t.Setenv("RAUC_SLOT_CLASS", "rootfs")
	for range 2 {
		run(t, hook, "slot-post-install")
		d.wantBaseline(t)
	}

	// Another slot, and what is none of its business.
	t.Setenv("RAUC_SLOT_CLASS", "appfs")
	run(t, hook, "slot-post-install")
	run(t, hook, "slot-pre-install")
	d.wantGone(t, d.Upper+".ovl-restore/baseline.jsonl")
	t.Setenv("OVL_RESTORE_SLOT_CLASS", "appfs")
	run(t, hook, "slot-post-install")
	d.wantBaseline(t)

	run(t, hook)
	d.wantBaseline(t)

	// It fails no update, neither where it can do nothing nor without the tool.
	write(t, d.Upper+".ovl-restore/state.json", "{")
	run(t, hook)
	t.Setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
	run(t, hook)
}
