// SPDX-License-Identifier: Apache-2.0

package hooks

import "testing"

// TestMender runs the state script as Mender does: the program itself, without
// arguments; 0 is success, 21 asks for another try, anything else fails the
// update. A state is entered again after a power cut.
func TestMender(t *testing.T) {
	d := newDevice(t)
	for range 2 {
		run(t, d.hook("mender/ArtifactInstall_Leave_50_ovl-restore"))
		d.wantBaseline(t)
	}
	t.Setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
	run(t, d.hook("mender/ArtifactInstall_Leave_50_ovl-restore"))
}
