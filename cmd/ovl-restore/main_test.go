// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/ioctl"
	"github.com/ovl-restore/ovl-restore/test/namespace"
)

// update rewrites the golden output in the scripts:
//
//	go test ./cmd/ovl-restore -update
var update = flag.Bool("update", false, "rewrite the golden output in the test scripts")

// The test binary runs itself as the tool, and as the programs that the scripts
// run the tool through.
func TestMain(m *testing.M) {
	testscript.Main(namespace.Wrap(m), map[string]func(){
		"ovl-restore":  main,
		"as-nobody":    asNobody,
		"on-terminal":  onTerminal,
		"twice":        twice,
		"on-full":      onFull,
		"on-journal":   onJournal,
		"interrupt-at": interruptAt,

		"slowly-on-terminal": slowlyOnTerminal,
	})
}

// TestScripts runs what users type, one topic a file. Each script works in a
// directory of its own, on overlays that it mounts itself, and sees:
//
//	METHOD         how this kernel restores: ioctl or remount
//	TESTPID        the process that holds what hold names
//	NL, TAB, BAD   bytes that names can hold: a newline, a tab, 0xff
//	[ioctl]        the kernel has the ioctl
//	[privileged]   root of the initial user name space: trusted.* attributes
func TestScripts(t *testing.T) { runScripts(t, "testdata/script") }

func runScripts(t *testing.T, dir string) {
	t.Helper()
	method := "remount"
	if kernelHasIoctl(t) {
		method = "ioctl"
	}
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       *update,
		Cmds:                scriptCommands(),
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "ioctl":
				return method == "ioctl", nil
			case "privileged":
				return namespace.Privileged(), nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Setup: func(e *testscript.Env) error {
			e.Setenv("METHOD", method)
			e.Setenv("TESTPID", strconv.Itoa(os.Getpid()))
			e.Setenv("NL", "\n")
			e.Setenv("TAB", "\t")
			e.Setenv("BAD", "\xff")
			held := map[string]*os.File{}
			e.Values[heldKey{}] = held
			e.Defer(func() {
				for _, f := range held {
					_ = f.Close()
				}
			})
			return openToAll(e.WorkDir)
		},
	})
}

// openToAll lets users without privileges reach the script's directory and the
// programs: testscript keeps both to itself.
var openToAll = func() func(string) error {
	var once sync.Once
	return func(dir string) error {
		var errs []error
		once.Do(func() {
			path, err := exec.LookPath("ovl-restore")
			errs = append(errs, err, openUp(filepath.Dir(path)))
		})
		return errors.Join(append(errs, openUp(dir))...)
	}
}()

// openUp makes a directory and those above it searchable, where they are not.
// The host's /tmp is and must stay as it is: a fixed mode would take its sticky
// bit and everybody's write permission away.
func openUp(dir string) error {
	for ; dir != "/"; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if mode := info.Mode().Perm(); mode&0o011 != 0o011 {
			if err := os.Chmod(dir, mode|0o055); err != nil {
				return err
			}
		}
	}
	return nil
}

// kernelHasIoctl asks an overlay, as the tool does.
func kernelHasIoctl(t *testing.T) bool {
	o := namespace.MountOverlay(t)
	dir, err := os.Open(o.Merged)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dir.Close() }()
	err = ioctl.NewMount(dir).IsRestorable(filepath.Join(o.Merged, "nothing"))
	if !errors.Is(err, ioctl.ErrNoIoctl) && !errors.Is(err, unix.EEXIST) {
		t.Fatalf("ask the kernel for the ioctl: %v", err)
	}
	return errors.Is(err, unix.EEXIST)
}
