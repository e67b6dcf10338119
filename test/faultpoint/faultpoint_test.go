// SPDX-License-Identifier: Apache-2.0

package faultpoint_test

import (
	"errors"
	"os"
	"os/signal"
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
		"patient": patient,
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

// patient changes a file until somebody types Ctrl-C, and says so.
func patient(args []string) error {
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt)
	for {
		select {
		case <-interrupted:
			_, err := os.Stderr.WriteString("interrupted\n")
			return err
		default:
			if err := os.WriteFile(args[0], nil, 0o600); err != nil {
				return err
			}
		}
	}
}

// Its call goes on, and so does it; what it prints goes where it is to go.
func TestInterruptAtACall(t *testing.T) {
	for _, call := range []uint64{0, unix.SYS_CLOSE} {
		said, err := os.Create(filepath.Join(t.TempDir(), "said"))
		if err != nil {
			t.Fatal(err)
		}
		p := faultpoint.Self("patient", filepath.Join(t.TempDir(), "f"))
		p.Stderr = said
		stop, err := faultpoint.Interrupt(call).Run(p, 40)
		if err != nil || stop.N != 40 || stop.Exit != 0 || len(stop.Out) > 0 || stop.Call == "" {
			t.Errorf("%v, exit code %d, output %q, %v; want it to end well, after its 40th call", stop, stop.Exit, stop.Out, err)
		}
		if text, err := os.ReadFile(said.Name()); err != nil || string(text) != "interrupted\n" {
			t.Errorf("it said %q, %v", text, err)
		}
		if err := said.Close(); err != nil {
			t.Error(err)
		}
	}
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
