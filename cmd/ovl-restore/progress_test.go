// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
	"time"
)

// The clock here is the test's.
func TestProgressShowsAfterASecond(t *testing.T) {
	var out strings.Builder
	now := time.Unix(0, 0)
	p := &progress{out: &out, now: func() time.Time { return now }}
	want := func(s string) {
		t.Helper()
		if out.String() != s {
			t.Errorf("the terminal got %q, want %q", out.String(), s)
		}
		out.Reset()
	}
	p.begin()
	now = now.Add(999 * time.Millisecond)
	p.update(10, 1000)
	p.clear()
	want("")
	now = now.Add(time.Millisecond)
	p.update(20, 1000)
	want("\rovl-restore: 2%")
	now = now.Add(99 * time.Millisecond)
	p.update(500, 1000)
	want("")
	now = now.Add(time.Millisecond)
	p.update(510, 1000)
	want("\rovl-restore: 51%")
	p.clear()
	want("\r\x1b[K")
	p.clear()
	want("")
}
