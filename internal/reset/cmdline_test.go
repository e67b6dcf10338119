// SPDX-License-Identifier: Apache-2.0

package reset

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestInCommandLine(t *testing.T) {
	for line, want := range map[string]bool{
		"quiet ovl-restore.reset=1 root=/dev/vda\n": true,
		"systemd.factory_reset=1":                   true,
		"systemd.factory_reset=yes":                 true,
		`ovl-restore.reset="1"`:                     true,
		"ovl-restore.reset=1 ovl-restore.reset=0":   false,
		"ovl-restore.reset=0":                       false,
		"ovl-restore.reset":                         false,
		"ovl-restore.reset=":                        false,
		"xovl-restore.reset=1":                      false,
		"quiet -- ovl-restore.reset=1":              false,
		"":                                          false,
	} {
		if got := InCommandLine(line); got != want {
			t.Errorf("%q: %v", line, got)
		}
	}
}

// A command line that carries the request for ever resets once; when a boot had
// none, the next one counts again.
func TestCommandLineCountsOnce(t *testing.T) {
	d := newDevice(t)
	image := tree(t, d.Lower)
	boot := func(carries bool) Outcome {
		out, err := Perform([]*Place{d.place()}, PerformOptions{
			CommandLine: carries,
			Order:       func() (*Order, error) { return &Order{By: "kernel command line"}, nil },
		})
		d.check(err)
		return out
	}
	if out := boot(true); len(out.Done) != 1 || out.Again {
		t.Errorf("the first boot: %+v", out)
	}
	if got := d.merged(); !cmp.Equal(image, got) {
		t.Error(cmp.Diff(image, got))
	}
	d.use()
	for range 2 {
		if out := boot(true); len(out.Done) != 0 || !out.Again {
			t.Errorf("a boot that carries it still: %+v", out)
		}
	}
	// A request that is made by hand is done all the same, once.
	d.request(&Order{})
	if out := boot(true); len(out.Done) != 1 {
		t.Errorf("with a request: %+v", out)
	}
	d.use()
	if out := boot(true); len(out.Done) != 0 {
		t.Errorf("after it: %+v", out)
	}
	if out := boot(false); len(out.Done) != 0 || out.Again {
		t.Errorf("a boot without: %+v", out)
	}
	if out := boot(true); len(out.Done) != 1 {
		t.Errorf("and one with it again: %+v", out)
	}
	if got := d.merged(); !cmp.Equal(image, got) {
		t.Error(cmp.Diff(image, got))
	}
	// Nothing is reset where the order cannot be made.
	d.use()
	boot(false)
	used := d.merged()
	_, err := Perform([]*Place{d.place()}, PerformOptions{
		CommandLine: true, Order: func() (*Order, error) { return nil, errors.New("no keep list") },
	})
	if err == nil || !cmp.Equal(used, d.merged()) {
		t.Errorf("%v", err)
	}
}
