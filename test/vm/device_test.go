// SPDX-License-Identifier: Apache-2.0

//go:build vmlong

package vm_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ovl-restore/ovl-restore/test/vm"
)

// device is a device whose root is an overlay, and whose upper outlives its
// boots.
type device struct {
	config vm.Config
}

// newDevice makes the device's image and an empty disk for its upper.
func newDevice(t *testing.T) *device {
	t.Helper()
	k := stockKernel(t)
	init, err := os.ReadFile("testdata/device/init.sh")
	if err != nil {
		t.Fatal(err)
	}
	tool, err := vm.ToolFiles(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	image, disk := filepath.Join(dir, "image"), filepath.Join(dir, "disk")
	makeImage(t, k, tool[0].Host, image)
	if err := vm.MakeExt4(t.Context(), disk, 64<<20); err != nil {
		t.Fatal(err)
	}
	return &device{vm.Config{
		Kernel: k, Init: string(init), Files: tool, NoScratch: true, Memory: 256, Modules: []string{"evdev"},
		Disks: []vm.Disk{{Path: image, ReadOnly: true}, {Path: disk}},
	}}
}

// makeImage makes a squashfs with a small root file system.
func makeImage(t *testing.T, k *vm.Kernel, tool, image string) {
	t.Helper()
	root := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{
		"bin", "sbin", "usr/bin", "usr/sbin", "dev", "proc", "sys", "run", "tmp", "data", "vm", "lib/modules", "root", "var/tmp",
		"etc/conf.d", "usr/share/doc",
	} {
		must(os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	applets, err := exec.CommandContext(t.Context(), k.Busybox, "--list-full").Output()
	must(err)
	for _, applet := range strings.Fields(string(applets)) {
		if applet != "sbin/reboot" && filepath.Base(applet) != "busybox" {
			must(os.MkdirAll(filepath.Join(root, filepath.Dir(applet)), 0o755))
			must(os.Symlink("/bin/busybox", filepath.Join(root, applet)))
		}
	}
	life, err := os.ReadFile("testdata/device/life.sh")
	must(err)
	files := map[string]string{
		"etc/hostname": "device\n", "etc/motd": "image\n", "etc/conf.d/a": "a\n", "usr/bin/tool": "#!/bin/sh\n",
		"usr/share/doc/a": "a\n", "usr/share/doc/b": "b\n", "usr/bin/life.sh": string(life),
		// There is no init to be asked in an orderly way.
		"sbin/reboot": "#!/bin/sh\nexec busybox reboot -f\n",
	}
	for from, to := range map[string]string{k.Busybox: "bin/busybox", tool: "usr/bin/ovl-restore"} {
		data, err := os.ReadFile(from)
		must(err)
		files[to] = string(data)
	}
	for name, text := range files {
		mode := os.FileMode(0o644)
		if strings.Contains(name, "bin/") {
			mode = 0o755
		}
		must(os.WriteFile(filepath.Join(root, name), []byte(text), mode))
	}
	out, err := exec.CommandContext(t.Context(), "mksquashfs", root, image, "-all-root", "-noappend", "-quiet", "-no-progress", "-comp", "gzip").CombinedOutput()
	if err != nil {
		t.Fatalf("mksquashfs: %v: %s", err, out)
	}
}

func (d *device) boot(ctx context.Context, t *testing.T, arguments string) *vm.VM {
	t.Helper()
	config := d.config
	config.Append = arguments
	guest, err := vm.Boot(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	return guest
}

// run runs a command in the guest and returns what it printed.
func run(ctx context.Context, t *testing.T, guest *vm.VM, args ...string) string {
	t.Helper()
	r, err := guest.Run(ctx, vm.Command{Args: args})
	if err != nil {
		t.Fatal(err)
	}
	if r.Code != 0 {
		t.Fatalf("%q: exit code %d: %s", args, r.Code, r.Combined)
	}
	return string(r.Combined)
}

// A device is used, its button is held, and after the boot it shows the image to
// the byte, but for what is kept.
func TestDeviceButton(t *testing.T) {
	d := newDevice(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()

	guest := d.boot(ctx, t, "")
	run(ctx, t, guest, "life.sh", "one")
	run(ctx, t, guest, "ovl-restore", "reset", "cancel")
	run(ctx, t, guest, "mkdir", "-p", "/etc/ovl-restore/keep.d")
	run(ctx, t, guest, "sh", "-c", "echo /etc/kept >/etc/ovl-restore/keep.d/kept.conf")
	watch := make(chan error, 1)
	out := &lines{first: make(chan struct{})}
	go func() {
		_, err := guest.Run(ctx, vm.Command{Args: []string{"ovl-restore", "button", "--key", "KEY_POWER", "--hold", "2s"}, Stderr: out})
		watch <- err
	}()
	<-out.first // it watches
	// Too short, and another key: nothing.
	for _, press := range []string{"sendkey power 700", "sendkey r 2500"} {
		if _, err := guest.Monitor(ctx, press); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		if s := run(ctx, t, guest, "ovl-restore", "reset", "status"); !strings.Contains(s, "no reset is requested") {
			t.Fatalf("after %s: %s", press, s)
		}
	}
	if _, err := guest.Monitor(ctx, "sendkey power 4000"); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-watch:
		if !errors.Is(err, vm.ErrDied) { // it reboots, and that ends QEMU
			t.Fatalf("the button: %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatalf("the button did nothing; the console says:\n%s", guest.Console())
	}
	if err := guest.Kill(); err != nil {
		t.Error(err)
	}

	guest = d.boot(ctx, t, "")
	if s := run(ctx, t, guest, "life.sh", "check"); !strings.Contains(s, "STATE reset") {
		t.Errorf("after the button: %s\n%s", s, guest.Console())
	}
	if s := run(ctx, t, guest, "ovl-restore", "reset", "status"); !strings.Contains(s, "the last reset, requested by button") {
		t.Error(s)
	}
	run(ctx, t, guest, "ovl-restore", "reset", "cleanup")
	if s := run(ctx, t, guest, "ls", "/data", "/data/upper.ovl-reset"); strings.Contains(s, "old") {
		t.Errorf("after the clean-up: %s", s)
	}
	if err := guest.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	// The kernel command line, at every boot from now on: once.
	for i, want := range []string{"reset: /", "asks for what was done already"} {
		guest = d.boot(ctx, t, "ovl-restore.reset=1")
		if s := run(ctx, t, guest, "cat", "/vm/performed"); !strings.Contains(s, want) {
			t.Errorf("boot %d with the command line: %s%s", i+1, s, run(ctx, t, guest, "cat", "/proc/cmdline"))
		}
		if err := guest.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	}
}

// The power goes at random moments of the cycle: used, requested, reset, cleaned
// up. After each boot the device is as it was used, or reset. OVL_POWERCUTS says
// how often.
func TestDevicePowerCuts(t *testing.T) {
	d := newDevice(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	cuts := 12
	if os.Getenv("CI") != "" {
		cuts = 50
	}
	if s := os.Getenv("OVL_POWERCUTS"); s != "" {
		var err error
		if cuts, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]int{}
	for n := range cuts {
		where := d.cut(ctx, t, n)
		for _, s := range where {
			seen[s]++
		}
		if t.Failed() {
			t.Fatalf("after %d power cuts", n)
		}
	}
	guest := d.boot(ctx, t, "")
	defer func() { _ = guest.Kill() }()
	run(ctx, t, guest, "life.sh", "check")
	t.Logf("%d power cuts: %v", cuts, seen)
	if seen["reset"] == 0 || seen["requested"] == 0 {
		t.Error("no reset was ever seen")
	}
}

// cut boots the device, lets it live, and cuts its power: one time of two while
// the reset is at work, and else at any time. It returns what the device said of
// itself until then.
func (d *device) cut(ctx context.Context, t *testing.T, n int) (states []string) {
	t.Helper()
	config := d.config
	limit := time.Minute
	if n%2 == 1 {
		config.Append = fmt.Sprintf("cut=%d", rand.IntN(200_000))
	} else if n%4 == 2 {
		limit = time.Second + time.Duration(rand.Int64N(int64(4*time.Second)))
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	guest, err := vm.Boot(ctx, config)
	if err != nil {
		switch {
		case config.Append != "" && errors.Is(err, vm.ErrDied):
			return []string{"cut in the boot"}
		case limit < time.Minute && ctx.Err() != nil:
			return []string{"cut at any time, in the boot"}
		}
		t.Error(err)
		return nil
	}
	defer func() {
		if err := guest.Kill(); err != nil { // the power cut
			t.Error(err)
		}
	}()
	r, err := guest.Run(ctx, vm.Command{Args: []string{"life.sh", strconv.Itoa(n)}})
	if err != nil && ctx.Err() == nil {
		t.Error(err)
	}
	if err != nil {
		states = append(states, "cut at any time")
	}
	if r == nil {
		return states
	}
	for line := range strings.Lines(string(r.Combined)) {
		if s, ok := strings.CutPrefix(strings.TrimSpace(line), "STATE "); ok {
			states = append(states, s)
		}
	}
	if r.Code != 0 || strings.Contains(string(r.Combined), "BAD") {
		t.Errorf("exit code %d: %s\n%s", r.Code, r.Combined, guest.Console())
	}
	return states
}
