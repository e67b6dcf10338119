// SPDX-License-Identifier: Apache-2.0

//go:build !vmguest

package reset

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
)

// The memory that a clean-up takes does not grow with what is removed.
func TestCleanupMemory(t *testing.T) {
	d := newDevice(t)
	removed := func(entries int) uint64 {
		d.check(os.Mkdir(filepath.Join(d.Upper, "many"), 0o755))
		for n := range entries {
			d.check(os.Mkdir(filepath.Join(d.Upper, "many", strconv.Itoa(n)), 0o755))
			d.check(os.WriteFile(filepath.Join(d.Upper, "many", strconv.Itoa(n), "f"), nil, 0o600))
		}
		d.request(&Order{})
		d.perform()
		var peak uint64
		_, err := Cleanup(t.Context(), []*Place{d.place()}, CleanupOptions{Progress: func(n int64) {
			if n%500 == 0 {
				var m runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&m)
				peak = max(peak, m.HeapAlloc)
			}
		}})
		d.check(err)
		return peak
	}
	const few = 250
	many := 16 * few
	if !testing.Short() {
		many *= 4
	}
	atFew := removed(few)
	if atMany := removed(many); atMany > atFew+1<<20 {
		t.Errorf("%d bytes for %d entries, %d for %d", atFew, 2*few, atMany, 2*many)
	}
}
