// SPDX-License-Identifier: Apache-2.0

package button

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestParseKey(t *testing.T) {
	for s, want := range map[string]Key{"KEY_RESTART": 408, "KEY_POWER": 116, "0x198": 408, "28": 28} {
		if got, err := ParseKey(s); err != nil || got != want {
			t.Errorf("%s: %d, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "0", "KEY_NONE", "-1", "0x300", "70000"} {
		if k, err := ParseKey(s); err == nil {
			t.Errorf("%q: %d", s, k)
		}
	}
}

// As a 32-bit kernel's, or a 32-bit program's, and as a 64-bit one's.
func TestDecodeEvent(t *testing.T) {
	e := binary.NativeEndian
	rest := e.AppendUint32(e.AppendUint16(e.AppendUint16(nil, 1), 408), 1)
	want := event{at: 5*time.Second + 250*time.Millisecond, typ: 1, code: 408, value: 1}
	for w, head := range map[int][]byte{
		4: e.AppendUint32(e.AppendUint32(nil, 5), 250_000),
		8: e.AppendUint64(e.AppendUint64(nil, 5), 250_000),
	} {
		b := slices.Concat(head, rest)
		if len(b) != eventSize(w) {
			t.Errorf("%d bytes, want %d", eventSize(w), len(b))
		}
		if got := decodeEvent(b, w); got != want {
			t.Errorf("words of %d bytes: %+v", w, got)
		}
	}
}

func key(at time.Duration, code uint16, value int32) event {
	return event{at: at, typ: evKey, code: code, value: value}
}

func TestHold(t *testing.T) {
	const long = 5 * time.Second
	sec := func(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }
	for name, c := range map[string]struct {
		events []event
		now    float64
		due    bool
	}{
		"held":                {[]event{key(0, 408, 1)}, 5, true},
		"not yet":             {[]event{key(0, 408, 1)}, 4.9, false},
		"released":            {[]event{key(0, 408, 1), key(sec(4), 408, 0)}, 9, false},
		"another key":         {[]event{key(0, 116, 1)}, 9, false},
		"repeats":             {[]event{key(0, 408, 1), key(sec(1), 408, 2), key(sec(2), 408, 2)}, 5, true},
		"a repeat only":       {[]event{key(0, 408, 2)}, 9, false},
		"pressed again":       {[]event{key(0, 408, 1), key(sec(4), 408, 0), key(sec(4.5), 408, 1)}, 6, false},
		"read late":           {[]event{key(0, 408, 1), key(sec(6), 408, 0)}, 20, false},
		"another of the same": {[]event{key(0, 408, 1), key(sec(1), 408, 1)}, 5, true},
	} {
		h := newHold(408, long)
		for _, e := range c.events {
			h.event("a", e)
		}
		if got := h.due(sec(c.now)); got != c.due {
			t.Errorf("%s: %v", name, got)
		}
		if c.due && h.due(sec(c.now)+time.Hour) {
			t.Errorf("%s: told twice", name)
		}
	}

	// Two devices: a release on one is none on the other.
	h := newHold(408, long)
	h.event("a", key(0, 408, 1))
	h.event("b", key(sec(1), 408, 1))
	h.event("a", key(sec(2), 408, 0))
	if h.due(sec(5)) || !h.due(sec(6)) {
		t.Error("two devices are mixed up")
	}
	// A device that goes is no longer held, and may come again.
	h.release("b")
	h.event("b", key(sec(7), 408, 1))
	if h.due(sec(8)) || !h.due(sec(12)) {
		t.Error("a device that came back")
	}
	if !h.event("a", event{typ: evSyn, code: synDropped}) {
		t.Error("an overrun is not told")
	}
}

func TestLED(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	is := func(name, want string) {
		t.Helper()
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := OpenLED(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no light: %v", err)
	}
	file("max_brightness", "255\n")
	file("brightness", "12\n")
	file("trigger", "none [heartbeat] timer\n")
	l, err := OpenLED(dir)
	if err != nil {
		t.Fatal(err)
	}
	l.restore()
	is("brightness", "12\n")
	l.set(true)
	is("brightness", "255\n")
	l.set(false)
	is("brightness", "0\n5\n") // sysfs takes the whole write
	l.restore()
	var none *LED
	none.set(true)
	none.restore()
}

func TestWatchEndsWithContext(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "event0"), nil, 0o644); err != nil { // no input device
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := Watch(ctx, Options{Devices: Devices{filepath.Join(dir, "event*")}, Key: 408, Hold: time.Second})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}
