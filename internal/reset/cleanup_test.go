// SPDX-License-Identifier: Apache-2.0

package reset

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Whatever is in the old tree goes: any depth, any number, in little memory; and
// a clean-up that is interrupted goes on.
func TestCleanupResumes(t *testing.T) {
	d := newDevice(t)
	const depth, wide = 4000, 3000
	dir, err := os.Open(d.Upper)
	d.check(err)
	for range depth { // longer than any path
		d.check(unix.Mkdirat(int(dir.Fd()), "deep", 0o755))
		next, err := openDirAt(int(dir.Fd()), "deep")
		d.check(err)
		d.check(dir.Close())
		dir = next
	}
	d.check(dir.Close())
	for n := range wide {
		d.write(d.Upper, "wide/"+strconv.Itoa(n)+"/f", "")
	}
	d.request(&Order{})
	d.perform()
	var rounds int
	var total int64
	for {
		ctx, cancel := context.WithCancel(t.Context())
		c, err := Cleanup(ctx, []*Place{d.place()}, CleanupOptions{Progress: func(n int64) {
			if n >= 2500 {
				cancel()
			}
		}})
		cancel()
		total += c.Removed
		rounds++
		if err == nil {
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	if rounds < 3 || total < depth+2*wide || total > depth+2*wide+50 {
		t.Errorf("%d entries in %d rounds", total, rounds)
	}
	if s := d.look(); s.State != None || !missing(filepath.Join(d.Upper+Suffix, dirOld)) {
		t.Errorf("%+v", s)
	}
}

// What is mounted in the old tree is not entered.
func TestCleanupDoesNotCrossMounts(t *testing.T) {
	d := newDevice(t)
	precious := t.TempDir()
	d.write(precious, "file", "precious\n")
	d.check(os.MkdirAll(filepath.Join(d.Upper, "a/mnt"), 0o755))
	d.request(&Order{})
	d.perform()
	old := filepath.Join(d.Upper+Suffix, dirOld)
	mountPoint := func(pattern string) string {
		matches, err := filepath.Glob(filepath.Join(old, pattern))
		d.check(err)
		if len(matches) != 1 {
			t.Fatalf("%s: %q", pattern, matches)
		}
		return matches[0]
	}
	d.check(unix.Mount(precious, mountPoint("*/a/mnt"), "", unix.MS_BIND, ""))
	_, err := Cleanup(t.Context(), []*Place{d.place()}, CleanupOptions{})
	s := d.look()
	if missing(filepath.Join(precious, "file")) {
		t.Fatal("the mounted file was removed")
	}
	d.check(unix.Unmount(mountPoint("*/mnt"), 0)) // the directory that it is in went up
	if !errors.Is(err, unix.EBUSY) || s.State != Cleaning {
		t.Errorf("clean-up: %v, %+v", err, s)
	}
	_, err = Cleanup(t.Context(), []*Place{d.place()}, CleanupOptions{})
	d.check(err)
}

// Symbolic links in the old tree are removed, not followed.
func TestCleanupDoesNotFollowLinks(t *testing.T) {
	d := newDevice(t)
	precious := t.TempDir()
	d.write(precious, "file", "precious\n")
	d.check(os.Symlink(precious, filepath.Join(d.Upper, "link")))
	d.check(os.Link(filepath.Join(d.Upper, "etc/hostname"), filepath.Join(filepath.Dir(d.Upper), "other name")))
	d.request(&Order{Wipe: true})
	d.perform()
	_, err := Cleanup(t.Context(), []*Place{d.place()}, CleanupOptions{})
	d.check(err)
	if missing(filepath.Join(precious, "file")) {
		t.Fatal("followed a link")
	}
	// Nor is a file overwritten that has another name elsewhere.
	data, err := os.ReadFile(filepath.Join(filepath.Dir(d.Upper), "other name"))
	d.check(err)
	if string(data) != "mine\n" {
		t.Errorf("%q", data)
	}
}

func TestCleanupBusy(t *testing.T) {
	d := newDevice(t)
	d.request(&Order{})
	d.perform()
	old, err := os.Open(filepath.Join(d.Upper+Suffix, dirOld))
	d.check(err)
	defer func() { _ = old.Close() }()
	d.check(unix.Flock(int(old.Fd()), unix.LOCK_EX))
	if _, err := Cleanup(t.Context(), []*Place{d.place()}, CleanupOptions{}); !errors.Is(err, ErrCleaning) {
		t.Errorf("%v", err)
	}
}

// A clean-up beside a request leaves the request alone.
func TestCleanupKeepsRequest(t *testing.T) {
	a, b := newDevice(t), newDevice(t)
	places := func() []*Place { return []*Place{a.place(), b.place()} }
	a.check(Request(places(), &Order{}))
	_, err := Cleanup(t.Context(), places(), CleanupOptions{})
	a.check(err)
	out, err := Perform(places(), PerformOptions{})
	a.check(err)
	if len(out.Done) != 1 {
		t.Errorf("%+v", out)
	}
}

func TestOverwrite(t *testing.T) {
	d := newDevice(t)
	path := filepath.Join(d.Upper, "f")
	d.check(os.WriteFile(path, []byte(strings.Repeat("secret", 100_000)), 0o600))
	d.check(os.Truncate(path, 5<<20)) // with a hole behind it
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	d.check(err)
	n, err := new(wiper).overwrite(f, 5<<20)
	d.check(errors.Join(err, f.Close()))
	if n < 600_000 || n > 700_000 {
		t.Errorf("%d bytes written", n)
	}
	data, err := os.ReadFile(path)
	d.check(err)
	if len(data) != 5<<20 || strings.Trim(string(data), "\x00") != "" {
		t.Error("not zeros")
	}
	// Where overwriting is vain, that is said.
	if means, why := d.place().Wiping(); means != (why == "" || strings.Contains(why, "flash")) {
		t.Errorf("%v, %q", means, why)
	}
}
