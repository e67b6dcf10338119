// SPDX-License-Identifier: Apache-2.0

package vm_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ovl-restore/ovl-restore/test/vm"
)

// The tests in this file boot guests that misbehave and require that the
// harness says so. Their time limits only end what would go on for ever.

func stockKernel(t *testing.T) *vm.Kernel {
	t.Helper()
	if testing.Short() {
		t.Skip("boots virtual machines")
	}
	t.Parallel()
	k, err := vm.Prepare(t.Context(), vm.Series[0], vm.Stock)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func boot(t *testing.T, c vm.Config) *vm.VM {
	t.Helper()
	guest, err := vm.Boot(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := guest.Kill(); err != nil {
			t.Error(err)
		}
	})
	return guest
}

// wantError requires an error of a kind that holds a text.
func wantError(t *testing.T, err, kind error, text string) {
	t.Helper()
	if !errors.Is(err, kind) || !strings.Contains(err.Error(), text) {
		t.Errorf("error: %v\nwant: %v, with %q in it", err, kind, text)
	}
}

func TestBootOfGuestThatFails(t *testing.T) {
	for _, test := range []struct {
		name, init string
		kind       error
		text       string
	}{
		{"panics", "exit 1", vm.ErrDied, "Attempted to kill init"},
		{"hangs", "while :; do sleep 1; done", vm.ErrHung, ""},
		{"ends silently", "mount -t proc none /proc; poweroff -f", vm.ErrDied, "Power down"},
		{"speaks nonsense", "mount -t devtmpfs dev /dev; echo PASS >/dev/ttyS1; sleep 60", vm.ErrDied, "make no sense"},
		{
			"says hello for another boot",
			`mount -t devtmpfs dev /dev; echo '{"Hello":{"Nonce":"1"}}' >/dev/ttyS1; sleep 60`, vm.ErrDied, "another boot",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			k := stockKernel(t)
			var limit time.Duration // as usual, where the guest ends by itself
			if errors.Is(test.kind, vm.ErrHung) {
				limit = 5 * time.Second
			}
			guest, err := vm.Boot(t.Context(), vm.Config{
				Kernel: k, NoScratch: true, BootLimit: limit,
				Init: "PATH=/bin; for a in sleep mount poweroff; do busybox ln -s busybox /bin/$a; done\n" + test.init,
			})
			if err == nil {
				t.Error("boots")
				_ = guest.Kill()
			}
			wantError(t, err, test.kind, test.text)
		})
	}
}

func TestGuestPanicsDuringCommand(t *testing.T) {
	guest := boot(t, vm.Config{Kernel: stockKernel(t)})
	r, err := guest.Run(t.Context(), vm.Command{
		Args: []string{"sh", "-c", "echo before; sleep 1; echo c >/proc/sysrq-trigger"},
	})
	wantError(t, err, vm.ErrDied, "sysrq triggered crash")
	if got := string(r.Stdout); got != "before\n" {
		t.Errorf("output before the end: %q", got)
	}
	wantError(t, guest.Shutdown(t.Context()), vm.ErrDied, "the kernel complained")
}

// A command that does not end in time is killed, with what it started, and the
// guest is still there for the next.
func TestCommandWithoutEnd(t *testing.T) {
	guest := boot(t, vm.Config{Kernel: stockKernel(t)})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := guest.Run(ctx, vm.Command{Args: []string{"sh", "-c", "sleep 1000 & wait"}})
	wantError(t, err, context.DeadlineExceeded, "run sh")
	if _, err := guest.Sh(t.Context(), "command -v pidof; if pidof sleep; then exit 1; fi"); err != nil {
		t.Error(err)
	}
	if err := guest.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// A guest whose agent stands still does not answer, whatever the caller asks.
func TestGuestStopsAnswering(t *testing.T) {
	guest := boot(t, vm.Config{Kernel: stockKernel(t)})
	if _, err := guest.Sh(t.Context(), "(sleep 2; killall -STOP guest) >/dev/null 2>&1 &"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	_, err := guest.Run(ctx, vm.Command{Args: []string{"sleep", "1000"}})
	wantError(t, err, vm.ErrHung, "run sleep")
	wantError(t, guest.Shutdown(ctx), vm.ErrHung, "shut down")
}

// A kernel that complains fails the shutdown, although all else went well.
func TestKernelComplaintFailsShutdown(t *testing.T) {
	guest := boot(t, vm.Config{Kernel: stockKernel(t)})
	const line = "WARNING: CPU: 0 PID: 1 at fs/overlayfs/dir.c:1 ovl_test+0x1/0x2"
	if _, err := guest.Sh(t.Context(), "echo '<4>"+line+"' >/dev/kmsg"); err != nil {
		t.Fatal(err)
	}
	err := guest.Shutdown(t.Context())
	if err == nil || !strings.Contains(err.Error(), line) {
		t.Errorf("shutdown: %v\nwant the line %q", err, line)
	}
}

// The tests of test/vm/failing end in every way that tests can end; the
// harness has to see each of them for what it is.
func TestFailuresInGuestAreSeen(t *testing.T) {
	kernel := stockKernel(t)
	tests, err := vm.BuildTests(t.Context(), "./test/vm/failing")
	if err != nil {
		t.Fatal(err)
	}
	guest := boot(t, vm.Config{Kernel: kernel, Files: tests[0].Files()})
	for _, test := range []struct {
		run     string
		outcome vm.Outcome
		err     string // of the run as a whole
		output  string // of the test
	}{
		{"TestPasses", vm.Pass, "", ""},
		{"TestSkips", vm.Skip, "", "a reason"},
		{"TestFails", vm.Fail, "1 tests failed", "a failure"},
		{"TestPanics", vm.Unfinished, "1 tests did not finish: exit status 2", "a panic"},
		{"TestExits", vm.Unfinished, "1 tests did not finish: exit status 1", ""},
		{"TestExitsWithSuccess", vm.Unfinished, "1 tests did not finish: exit status 2", "unexpected call to os.Exit(0)"},
		{"TestIsKilled", vm.Unfinished, "1 tests did not finish: ended by signal: killed", ""},
		{"TestForgesItsResult", vm.Fail, "1 tests failed", "a failure"},
	} {
		run, err := guest.GoTest(t.Context(), tests[0], nil, "-test.run=^"+test.run+"$")
		if err != nil {
			t.Fatalf("%s: %v", test.run, err)
		}
		if len(run.Tests) != 1 || run.Tests[0].Outcome != test.outcome || !strings.Contains(run.Tests[0].Output, test.output) {
			t.Errorf("%s: want outcome %q with %q, got %+v", test.run, test.outcome, test.output, run.Tests[0])
		}
		err = run.Err()
		if (err != nil) != (test.err != "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: run: %v, want %q", test.run, err, test.err)
		}
	}
	// Nothing that was run is no success either.
	run, err := guest.GoTest(t.Context(), tests[0], nil, "-test.run=^TestThatIsNotThere$")
	if err != nil || run.Err() == nil {
		t.Errorf("no tests: %v, run: %v", err, run.Err())
	}
	// A guest that dies with a test running is an error, and the test shows it.
	run, err = guest.GoTest(t.Context(), tests[0], nil, "-test.run=^(TestPasses|TestCrashesTheKernel)$")
	wantError(t, err, vm.ErrDied, "sysrq triggered crash")
	if run.Count(vm.Pass) != 1 || run.Count(vm.Unfinished) != 1 || run.Err() == nil {
		t.Errorf("after the crash: %d passed, %d unfinished, run: %v", run.Count(vm.Pass), run.Count(vm.Unfinished), run.Err())
	}
}

func TestPatchedKernelNeedsPatches(t *testing.T) {
	if testing.Short() {
		t.Skip("downloads a kernel")
	}
	k, err := vm.Prepare(t.Context(), "6.1-without-patches", vm.Patched)
	if err == nil {
		t.Errorf("prepared: %+v", k)
	}
	for _, variant := range vm.Variants(t.TempDir(), vm.Series[0]) {
		if variant == vm.Patched {
			t.Error("a series without patches has a patched kernel")
		}
	}
}

// What was flushed before the power is cut is on the disk, and the guest is
// gone at once.
func TestPowerCut(t *testing.T) {
	kernel := stockKernel(t)
	disk := filepath.Join(t.TempDir(), "disk")
	if err := vm.MakeExt4(t.Context(), disk, 64<<20); err != nil {
		t.Fatal(err)
	}
	config := vm.Config{Kernel: kernel, NoScratch: true, Disks: []vm.Disk{{Path: disk}}}
	guest := boot(t, config)
	if _, err := guest.Sh(t.Context(), "mount /dev/vda /mnt; echo kept >/mnt/f; sync; echo lost >/mnt/g"); err != nil {
		t.Fatal(err)
	}
	if err := guest.Kill(); err != nil {
		t.Fatal(err)
	}
	_, err := guest.Run(t.Context(), vm.Command{Args: []string{"true"}})
	wantError(t, err, vm.ErrDied, "run true")

	guest = boot(t, config)
	if out, err := guest.Sh(t.Context(), "mount /dev/vda /mnt; ls /mnt"); err != nil || out != "f\nlost+found\n" {
		t.Errorf("after the power cut: %q, %v", out, err)
	}
}

// What later tests need: files of the host, a read-only disk, the kernel's
// command line, memory, modules, commands side by side, the monitor's keys.
func TestConfig(t *testing.T) {
	kernel := stockKernel(t)
	dir := t.TempDir()
	disk := filepath.Join(dir, "a,disk")
	if err := vm.MakeExt4(t.Context(), disk, 8<<20); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "script"), []byte("#!/bin/sh\necho from the host\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("script", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	guest := boot(t, vm.Config{
		Kernel: kernel, Memory: 300, CPUs: 2, Append: "ovl-test=1 quiet", Env: []string{"A=b"},
		Modules: []string{"evdev"},
		Disks:   []vm.Disk{{Path: disk, ReadOnly: true, Serial: "read-only"}},
		Files:   []vm.File{{Host: dir, Guest: "/opt/dir"}, {Content: []byte("content"), Guest: "/a/b/c", Mode: 0o600}},
	})
	for script, want := range map[string]string{
		"/opt/dir/link":                                                 "from the host\n",
		"cat /a/b/c; stat -c ' %a' /a/b/c":                              "content 600\n",
		"cat /sys/block/vda/ro /sys/block/vda/serial":                   "1\nread-only",
		"grep -c 'ovl-test=1' /proc/cmdline":                            "1\n",
		"echo $A $OVL_VM $OVL_VM_SERIES; nproc":                         "b stock " + vm.Series[0] + "\n2\n",
		"[ $(awk '/MemTotal/ { print $2 }' /proc/meminfo) -lt 300000 ]": "",
		"uname -r": kernel.Release + "\n",
		// The kernel finds a file system's module by itself.
		"mount -t xfs /dev/vda /mnt 2>/dev/null || grep -cw xfs /proc/filesystems": "1\n",
	} {
		out, err := guest.Sh(t.Context(), script)
		if err != nil || out != want {
			t.Errorf("%s: %q, want %q (%v)", script, out, want, err)
		}
	}
	if _, err := guest.Sh(t.Context(), "exit 3"); err == nil {
		t.Error("a script that fails is no error")
	}
	if _, err := guest.Run(t.Context(), vm.Command{Args: []string{"no-such-program"}}); err == nil {
		t.Error("a program that is not there is no error")
	}
}

// A key pressed in the monitor arrives as input events.
func TestMonitorSendsKeys(t *testing.T) {
	guest := boot(t, vm.Config{Kernel: stockKernel(t), Modules: []string{"evdev"}})
	pressed := make(chan error, 1)
	var events []byte
	go func() {
		// Two events for press and release, each with its synchronisation.
		r, err := guest.Run(t.Context(), vm.Command{Args: []string{"dd", "if=/dev/input/event0", "bs=24", "count=4"}})
		events = r.Stdout
		pressed <- err
	}()
	for {
		if _, err := guest.Monitor(t.Context(), "sendkey power 100"); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-pressed:
			if err != nil {
				t.Fatal(err)
			}
			if len(events) != 4*24 {
				t.Errorf("%d bytes of events, want %d", len(events), 4*24)
			}
			return
		case <-time.After(500 * time.Millisecond):
		}
	}
}
