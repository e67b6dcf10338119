// SPDX-License-Identifier: Apache-2.0

package reset

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/journal"
	"github.com/ovl-restore/ovl-restore/internal/overlay"
	"github.com/ovl-restore/ovl-restore/test/faultpoint"
	"github.com/ovl-restore/ovl-restore/test/namespace"
)

// scenarios are what is stopped at each system call, on the overlays whose
// directories are the arguments.
var scenarios = map[string]func(dirs []string) error{
	"request": func(dirs []string) error {
		return withPlaces(dirs, func(places []*Place) error {
			return Request(places, crashOrder(dirs))
		})
	},
	"perform": func(dirs []string) error {
		return withPlaces(dirs, func(places []*Place) error {
			_, err := Perform(places, PerformOptions{})
			return err
		})
	},
	"command line": func(dirs []string) error {
		return withPlaces(dirs, func(places []*Place) error {
			_, err := Perform(places, PerformOptions{CommandLine: true, Order: func() (*Order, error) {
				return crashOrder(dirs), nil
			}})
			return err
		})
	},
	"cleanup": func(dirs []string) error {
		return withPlaces(dirs, func(places []*Place) error {
			_, err := Cleanup(context.Background(), places, CleanupOptions{})
			return err
		})
	},
}

// crashOrder keeps something, and has the stores in a directory of their own.
func crashOrder(dirs []string) *Order {
	return &Order{By: "sweep", Keep: []string{"/etc/ssh/key*", "/home"}, Stores: crashStores(dirs)}
}

func crashStores(dirs []string) string { return filepath.Join(dirs[0], "stores") }

func withPlaces(dirs []string, do func([]*Place) error) error {
	var places []*Place
	for _, dir := range dirs {
		p, err := Open(Overlay{
			Lowers: []string{filepath.Join(dir, "lower")},
			Upper:  filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work"),
		})
		if err != nil {
			return err
		}
		places = append(places, p)
	}
	defer func() {
		for _, p := range places {
			_ = p.Close()
		}
	}()
	return do(places)
}

// crash is two overlays that are reset together.
type crash struct {
	t     *testing.T
	all   []*device
	dirs  []string
	used  []map[string]string
	reset []map[string]string // the image, and what is kept
}

func newCrash(t *testing.T) *crash {
	t.Helper()
	c := &crash{t: t}
	for range 2 {
		d := newDevice(t)
		used := d.merged()
		want := tree(t, d.Lower)
		for name, line := range used {
			if name == "home" || strings.HasPrefix(name, "home/") || strings.HasPrefix(name, "etc/ssh/key") {
				want[name] = line
			}
		}
		c.all = append(c.all, d)
		c.dirs = append(c.dirs, filepath.Dir(d.Upper))
		c.used = append(c.used, used)
		c.reset = append(c.reset, want)
	}
	c.fillStores("old")
	return c
}

// fillStores gives each overlay a store with something in it.
func (c *crash) fillStores(text string) {
	c.t.Helper()
	for _, d := range c.all {
		d.write(crashStores(c.dirs), filepath.Join(journal.StoreName(d.Upper), "note"), text)
	}
}

func (c *crash) holds(what, want string) {
	c.t.Helper()
	if got := c.openStores(); got != want {
		c.t.Errorf("%s: the stores hold %q, want %q", what, got, want)
	}
}

// openStores opens the stores as the first command after a boot does, and tells
// what is in them: nothing where they are new. Each is left with something new.
func (c *crash) openStores() string {
	c.t.Helper()
	var held []string
	for _, d := range c.all {
		layers, err := overlay.OpenLayers(d.Upper, []string{d.Lower}, overlay.LayerOptions{})
		d.check(err)
		upper := layers.Upper()
		place := journal.Place{Dir: crashStores(c.dirs)}
		view, viewErr := place.View(upper)
		if viewErr == nil {
			d.check(view.Close())
		}
		store, err := place.Open(upper)
		d.check(err)
		data, err := store.ReadFile("note")
		if (viewErr == nil) != (err == nil) {
			c.t.Errorf("view: %v, open: %v", viewErr, err)
		}
		held = append(held, string(data))
		d.check(store.WriteFile("note", []byte("new")))
		d.check(errors.Join(store.Close(), layers.Close()))
	}
	return strings.Join(held, "")
}

func (c *crash) do(name string) {
	c.t.Helper()
	if err := scenarios[name](c.dirs); err != nil {
		c.t.Errorf("%s: %v", name, err)
	}
}

func (c *crash) look() Status {
	c.t.Helper()
	var s Status
	err := withPlaces(c.dirs, func(places []*Place) (err error) {
		s, err = Look(c.t.Context(), places)
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

// show asserts that both overlays show this.
func (c *crash) show(what string, want []map[string]string) {
	c.t.Helper()
	for i, d := range c.all {
		if got := d.merged(); !maps.Equal(want[i], got) {
			c.t.Errorf("%s: the overlay %d: %s", what, i, cmp.Diff(want[i], got))
		}
	}
}

// again resets a second time, and cleans up: nothing that the first reset left
// is in the way. That is done for some of the calls: it takes longer than the
// rest.
func (c *crash) again(stop faultpoint.Stop) {
	c.t.Helper()
	if stop.N%7 != 0 {
		return
	}
	for _, d := range c.all {
		d.Mount(c.t)
		d.write(d.Merged, "etc/hostname", "mine again\n")
		d.Unmount(c.t)
	}
	c.do("request")
	c.do("perform")
	c.show("after a second reset", c.reset)
	c.do("cleanup")
	c.show("after the clean-up", c.reset)
	entries, err := os.ReadDir(crashStores(c.dirs))
	if err != nil || len(entries) > 0 {
		c.t.Errorf("where the stores were: %v, %v", entries, err)
	}
	if s := c.look(); s.State != None {
		c.t.Errorf("after the clean-up: %+v", s)
	}
	for _, d := range c.all {
		if got := d.beside(); got != "upper"+Suffix {
			c.t.Errorf("beside the upper: %s", got)
		}
	}
}

// sweep is faultpoint.Sweep; in a short run, at every seventh call, from a
// different one each time, and in a guest, which is several times slower, at
// every 61st.
func sweep(t *testing.T, fault faultpoint.Fault, prepare func(t *testing.T) faultpoint.Scenario) {
	t.Helper()
	if !testing.Short() {
		t.Logf("stopped at %d calls", faultpoint.Sweep(t, fault, prepare))
		return
	}
	every := 7
	if namespace.InGuest() {
		every = 61
	}
	for n, ended := 1+rand.IntN(every), false; !ended; n += every {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			s := prepare(t)
			stop, err := fault.Run(s.Program, n)
			if err != nil {
				t.Fatal(err)
			}
			ended = stop.N == 0
			s.Check(t, stop)
			if t.Failed() {
				t.Logf("at %v; it printed:\n%s", stop, stop.Out)
			}
		})
	}
}

func (c *crash) scenario(name string, check func(faultpoint.Stop)) faultpoint.Scenario {
	return faultpoint.Scenario{
		Program: faultpoint.Self(name, c.dirs...),
		Check:   func(_ *testing.T, stop faultpoint.Stop) { check(stop) },
	}
}

// A request that is cut off is none, or it stands.
func TestRequestKilled(t *testing.T) {
	sweep(t, faultpoint.Kill, func(t *testing.T) faultpoint.Scenario {
		c := newCrash(t)
		return c.scenario("request", func(stop faultpoint.Stop) {
			c.show("after the cut", c.used)
			state := c.look().State
			if stop.N == 0 && state != Requested {
				t.Errorf("after a request: %s", state)
			}
			c.do("perform") // the next boot
			if state == Requested {
				c.show("with the request standing", c.reset)
				c.holds("with the request standing", "")
			} else {
				c.show("without a request", c.used)
				c.holds("without a request", "oldold")
			}
			c.again(stop)
		})
	})
}

// A reset that is cut off is done at the next boot, of both overlays.
func TestPerformKilled(t *testing.T) {
	sweep(t, faultpoint.Kill, func(t *testing.T) faultpoint.Scenario {
		c := newCrash(t)
		c.do("request")
		return c.scenario("perform", func(stop faultpoint.Stop) {
			switch state := c.look().State; {
			case state == Requested && stop.N != 0:
				c.show("undecided", c.used)
			case state == Decided && stop.N != 0:
			case state != Cleaning:
				t.Errorf("the state is %s", state)
			}
			c.do("perform") // the next boot
			c.show("after the next boot", c.reset)
			if got := c.look(); got.State != Cleaning || got.Last == nil {
				t.Errorf("after the next boot: %+v", got)
			}
			if stop.N%2 == 0 {
				c.holds("after the next boot", "")
				c.holds("opened again", "newnew")
			}
			c.again(stop)
		})
	})
}

// The same where the kernel command line asks for it, at this boot and the next.
func TestPerformForCommandLineKilled(t *testing.T) {
	sweep(t, faultpoint.Kill, func(t *testing.T) faultpoint.Scenario {
		c := newCrash(t)
		return c.scenario("command line", func(faultpoint.Stop) {
			c.do("command line")
			c.show("after the next boot", c.reset)
			for _, d := range c.all {
				d.Mount(t)
				d.write(d.Merged, "etc/new", "new\n")
				d.Unmount(t)
			}
			used := []map[string]string{c.all[0].merged(), c.all[1].merged()}
			c.do("command line")
			c.show("after the boot after that", used)
		})
	})
}

// A clean-up that is cut off goes on, and touches nothing else.
func TestCleanupKilled(t *testing.T) {
	sweep(t, faultpoint.Kill, func(t *testing.T) faultpoint.Scenario {
		c := newCrash(t)
		c.do("request")
		c.do("perform")
		fresh := rand.IntN(2) == 0
		if fresh { // else the clean-up is the first to look at the stores
			c.holds("before the clean-up", "")
		}
		return c.scenario("cleanup", func(stop faultpoint.Stop) {
			c.show("after the cut", c.reset)
			if fresh {
				c.holds("after the cut", "newnew")
			} else {
				c.holds("after the cut", "")
			}
			c.do("cleanup")
			if s := c.look(); s.State != None {
				t.Errorf("%+v", s)
			}
			c.holds("after the clean-up", "newnew")
			c.again(stop)
		})
	})
}

// A call that fails, too, leaves the old state with the request, or a reset that
// goes on; and it is told.
func TestPerformFails(t *testing.T) {
	errnos := []unix.Errno{unix.EIO, unix.ENOSPC, unix.EROFS}
	for _, errno := range errnos {
		t.Run(errno.Error(), func(t *testing.T) {
			sweep(t, faultpoint.Fail(errno), func(t *testing.T) faultpoint.Scenario {
				c := newCrash(t)
				c.do("request")
				return c.scenario("perform", func(stop faultpoint.Stop) {
					state := c.look().State
					switch {
					case stop.Exit == 0 && state != Cleaning:
						t.Errorf("exit code 0, and the state is %s", state)
					case state == Requested:
						c.show("undecided", c.used)
					}
					c.do("perform")
					c.show("after the next boot", c.reset)
					c.again(stop)
				})
			})
		})
	}
}

// A request that fails is none.
func TestRequestFails(t *testing.T) {
	errnos := []unix.Errno{unix.EIO, unix.ENOSPC}
	for _, errno := range errnos {
		t.Run(errno.Error(), func(t *testing.T) {
			sweep(t, faultpoint.Fail(errno), func(t *testing.T) faultpoint.Scenario {
				c := newCrash(t)
				return c.scenario("request", func(stop faultpoint.Stop) {
					state := c.look().State
					if (stop.Exit == 0) != (state == Requested) {
						t.Errorf("exit code %d, and the state is %s", stop.Exit, state)
					}
					c.do("perform")
					if state == Requested {
						c.show("after the next boot", c.reset)
					} else {
						c.show("after the next boot", c.used)
					}
				})
			})
		})
	}
}

// A clean-up of which a call fails says so, or has done its work all the same; it
// touches nothing else, and the next one does the rest.
func TestCleanupFails(t *testing.T) {
	for name, fault := range map[string]faultpoint.Fault{
		"EIO": faultpoint.Fail(unix.EIO), "ENOSPC": faultpoint.Fail(unix.ENOSPC).Every(3),
	} {
		t.Run(name, func(t *testing.T) {
			sweep(t, fault, func(t *testing.T) faultpoint.Scenario {
				c := newCrash(t)
				c.do("request")
				c.do("perform")
				return c.scenario("cleanup", func(stop faultpoint.Stop) {
					c.show("after the clean-up", c.reset)
					if state := c.look().State; stop.Exit == 0 && state != None {
						t.Errorf("exit code 0, and the state is %s", state)
					}
					c.do("cleanup")
					if s := c.look(); s.State != None {
						t.Errorf("after the next clean-up: %+v", s)
					}
					c.holds("after the next clean-up", "")
					c.again(stop)
				})
			})
		})
	}
}

// A reset makes the same number of system calls for ten entries as for many: how
// long it takes does not depend on how many there are.
func TestPerformCallsDoNotGrow(t *testing.T) {
	calls := func(entries int) int {
		d := newDevice(t)
		many := filepath.Join(d.Upper, "var/cache")
		d.check(os.MkdirAll(many, 0o755))
		for n := range entries {
			if n%1000 == 0 {
				d.check(os.Mkdir(filepath.Join(many, strconv.Itoa(n)), 0o755))
			}
			fd, err := unix.Open(filepath.Join(many, strconv.Itoa(n-n%1000), strconv.Itoa(n)), unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
			d.check(err)
			d.check(unix.Close(fd))
		}
		dirs := []string{filepath.Dir(d.Upper)}
		d.check(scenarios["request"](dirs))
		stop, err := faultpoint.Kill.Run(faultpoint.Self("perform", dirs...), 1<<30)
		d.check(err)
		if stop.N != 0 || stop.Exit != 0 || stop.Calls == 0 {
			t.Fatalf("%+v: %s", stop, stop.Out)
		}
		if s := d.look(); s.Left.Entries < int64(entries) {
			t.Fatalf("%d entries were replaced, want %d", s.Left.Entries, entries)
		}
		return stop.Calls
	}
	many := 100_000
	if testing.Short() {
		many = 10_000
	}
	few, of := calls(10), calls(many)
	t.Logf("%d calls for 10 entries, %d for %d", few, of, many)
	// One more was seen in some runs, of either. To look into the directories alone
	// takes more.
	if of > few+5 {
		t.Error("perform takes longer where there is more")
	}
}
