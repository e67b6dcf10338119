// SPDX-License-Identifier: Apache-2.0

package faultpoint_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/test/faultpoint"
)

func TestMain(m *testing.M) {
	faultpoint.Main(map[string]func([]string) error{
		"replace": replace,
		"threads": threads,
	})
	os.Exit(m.Run())
}

// replace replaces a file as one should: it is never seen half written.
func replace(args []string) error {
	path := args[0]
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.WriteString("new"); err != nil {
		return err
	}
	os.Stdout.WriteString("this does not count\n")
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// threads makes a file from another thread.
func threads(args []string) error {
	done := make(chan error)
	for range 4 {
		go func() { done <- nil }()
	}
	go func() { done <- os.WriteFile(args[0], []byte("new"), 0o600) }()
	var errs []error
	for range 5 {
		errs = append(errs, <-done)
	}
	return errors.Join(errs...)
}

func TestKillAtEachCall(t *testing.T) {
	var calls []string
	n := faultpoint.Sweep(t, faultpoint.Kill, func(t *testing.T) faultpoint.Scenario {
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		return faultpoint.Scenario{
			Program: faultpoint.Self("replace", path),
			Check: func(t *testing.T, stop faultpoint.Stop) {
				want := "old"
				if stop.N == 0 {
					want = "new"
				}
				if got, err := os.ReadFile(path); err != nil || string(got) != want {
					t.Errorf("%v: %q, %v, want %q", stop, got, err, want)
				}
				call, _, _ := strings.Cut(stop.Call, " ")
				calls = append(calls, call)
				if printed := len(stop.Out) > 0; printed != (stop.N == 0 || stop.N > 2) {
					t.Errorf("%v: it printed %q", stop, stop.Out)
				}
			},
		}
	})
	if got := strings.Join(calls, " "); n != 4 || !strings.HasPrefix(got, "openat write fsync rename") {
		t.Errorf("%d calls: %s", n, got)
	}
}

func TestFailEachCall(t *testing.T) {
	n := faultpoint.Sweep(t, faultpoint.Fail(unix.EDQUOT), func(t *testing.T) faultpoint.Scenario {
		path := filepath.Join(t.TempDir(), "f")
		return faultpoint.Scenario{
			Program: faultpoint.Self("replace", path),
			Check: func(t *testing.T, stop faultpoint.Stop) {
				_, err := os.Lstat(path)
				if failed := stop.N > 0; (err != nil) != failed || (stop.Exit != 0) != failed {
					t.Errorf("%v, exit code %d: %v", stop, stop.Exit, err)
				}
				if stop.N > 0 && !strings.Contains(string(stop.Out), unix.EDQUOT.Error()) {
					t.Errorf("%v: it printed %q", stop, stop.Out)
				}
			},
		}
	})
	if n != 4 {
		t.Errorf("%d calls", n)
	}
}

// Every thread counts.
func TestThreads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	stop, err := faultpoint.Kill.Run(faultpoint.Self("threads", path), 2)
	if err != nil || !strings.HasPrefix(stop.Call, "write ") || !strings.HasSuffix(stop.Call, path) {
		t.Errorf("%v, %v", stop, err)
	}
	if got, err := os.ReadFile(path); err != nil || len(got) > 0 {
		t.Errorf("%q, %v", got, err)
	}
}

func TestProgramThatIsNotThere(t *testing.T) {
	if _, err := faultpoint.Kill.Run(faultpoint.Program{Args: []string{"/no/such/program"}}, 1); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v, want ErrNotExist", err)
	}
}
