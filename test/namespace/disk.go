// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"os"
	"testing"
)

// Disk returns a new directory, removed when the test ends, on a disk's file
// system where the machine offers one in OVL_SCRATCH, as the virtual machines
// of test/vm do, and on the tests' tmpfs elsewhere.
func Disk(t testing.TB) string {
	t.Helper()
	scratch := os.Getenv("OVL_SCRATCH")
	if scratch == "" {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(scratch, "test-") //nolint:usetesting // t.TempDir is on the tmpfs
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	return dir
}

// InGuest says whether the tests run in a guest of test/vm. It is emulated, and
// several times slower than its host, where the same tests run in full.
func InGuest() bool { return os.Getenv("OVL_SCRATCH") != "" }
