// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"sync/atomic"
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

// A counter goes on from one overlay to the next, and is taken away for what is
// printed between.
func TestProgressCounts(t *testing.T) {
	var out strings.Builder
	now := time.Unix(0, 0)
	p := &progress{out: &out, now: func() time.Time { return now }}
	var n atomic.Int64
	n.Store(12345)
	stop := p.count(&n, time.NewTicker(time.Millisecond))
	time.Sleep(20 * time.Millisecond)
	stop()
	if out.Len() > 0 {
		t.Errorf("before a second has passed, the terminal got %q", out.String())
	}
	now = now.Add(time.Second)
	stop = p.count(&n, time.NewTicker(time.Millisecond))
	time.Sleep(20 * time.Millisecond)
	stop()
	stop() // once more does nothing
	if want := "\rovl-restore: 12345 entries"; !strings.HasPrefix(out.String(), want) || !strings.HasSuffix(out.String(), want+"\r\x1b[K") {
		t.Errorf("the terminal got %q, want %q and its end", out.String(), want)
	}
}
