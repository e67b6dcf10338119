// SPDX-License-Identifier: Apache-2.0

package vm_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ovl-restore/ovl-restore/test/vm"
)

// device is a device whose root is an overlay, and whose upper outlives its
// boots.
type device struct {
	*deviceBoot
	disks []vm.Disk
}

// deviceBoot is what all devices have in common: the image, and a boot up to the
// moment when the disks are looked at.
type deviceBoot struct {
	config vm.Config
	frozen *vm.Frozen
}

// newDeviceBoot boots a device once, to be gone on with for each boot: that takes a
// quarter of the time.
func newDeviceBoot(t *testing.T) *deviceBoot {
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
	root, err := vm.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	integrations := filepath.Join(root, "integrations")
	files := slices.Concat(tool, []vm.File{{Guest: "/pre-init", Host: filepath.Join(integrations, "pre-init/ovl-restore-reset")}})
	image := filepath.Join(t.TempDir(), "image")
	makeImage(t, k, map[string]string{
		tool[0].Host: "usr/bin/ovl-restore", filepath.Join(integrations, "button/ovl-restore-button"): "usr/bin/ovl-restore-button",
	}, image)
	b := &deviceBoot{config: vm.Config{
		Kernel: k, Init: string(init), Files: files, NoScratch: true, Memory: 192, Modules: []string{"evdev"},
		Disks: []vm.Disk{{Path: image, ReadOnly: true}, {Path: newDisk(t)}},
	}}
	config := b.config
	config.Append = "device.freeze mitigations=off"
	if b.frozen, err = vm.Freeze(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.frozen.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func newDisk(t *testing.T) string {
	t.Helper()
	disk := filepath.Join(t.TempDir(), "disk")
	if err := vm.MakeExt4(t.Context(), disk, 64<<20); err != nil {
		t.Fatal(err)
	}
	return disk
}

// device is one with an empty disk.
func (b *deviceBoot) device(t *testing.T) *device {
	t.Helper()
	return &device{b, []vm.Disk{b.config.Disks[0], {Path: newDisk(t)}}}
}

// makeImage makes a squashfs with a small root file system.
func makeImage(t *testing.T, k *vm.Kernel, more map[string]string, image string) {
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
	more[k.Busybox] = "bin/busybox"
	for from, to := range more {
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

// boot boots the device with these arguments on the kernel's command line.
func (d *device) boot(ctx context.Context, t *testing.T, arguments string) *vm.VM {
	t.Helper()
	config := d.config
	config.Append, config.Disks = arguments, d.disks
	guest, err := vm.Boot(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	return guest
}

// thaw boots the device from where all boots are the same. cut is when its power
// goes after the reset has begun, 0 for never; arguments are added to the kernel's
// command line, as the reset reads it.
func (d *device) thaw(ctx context.Context, cut time.Duration, arguments string) (*vm.VM, error) {
	line := fmt.Sprintf("%x %d %d %s", rand.Uint64(), time.Now().Unix(), cut.Microseconds(), arguments)
	return d.frozen.Thaw(ctx, d.disks, line)
}

func (d *device) mustThaw(ctx context.Context, t *testing.T, arguments string) *vm.VM {
	t.Helper()
	guest, err := d.thaw(ctx, 0, arguments)
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
// the byte, but for what is kept. Then its power goes at random moments of the
// cycle: used, requested, reset, cleaned up. After each boot it is as it was used,
// or reset.
func TestDevice(t *testing.T) {
	b := newDeviceBoot(t)
	t.Run("button", b.testButton)
	cuts := cutsWanted(t)
	for part := range devices {
		t.Run("power cuts "+strconv.Itoa(part+1), func(t *testing.T) {
			t.Parallel()
			b.testPowerCuts(t, cuts/devices)
		})
	}
}

// devices is how many are used side by side.
const devices = 2

// cutsWanted is how often the power goes: OVL_POWERCUTS says.
func cutsWanted(t *testing.T) int {
	t.Helper()
	text := os.Getenv("OVL_POWERCUTS")
	if text == "" {
		return 50
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (b *deviceBoot) testButton(t *testing.T) {
	t.Parallel()
	d := b.device(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	guest := d.mustThaw(ctx, t, "")
	run(ctx, t, guest, "life.sh", "one")
	run(ctx, t, guest, "ovl-restore", "reset", "cancel")
	run(ctx, t, guest, "mkdir", "-p", "/etc/ovl-restore/keep.d")
	run(ctx, t, guest, "sh", "-c", "echo /etc/kept >/etc/ovl-restore/keep.d/kept.conf")
	pressButton(ctx, t, guest)

	guest = d.mustThaw(ctx, t, "")
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
	// A board that watches the button itself has the script: it requests, and reboots.
	run(ctx, t, guest, "life.sh", "two")
	run(ctx, t, guest, "ovl-restore", "reset", "cancel")
	r, err := guest.Run(ctx, vm.Command{Args: []string{"ovl-restore-button", "--keep", "/etc/kept"}})
	if !errors.Is(err, vm.ErrDied) {
		t.Fatalf("the button's script: %v: %s", err, r.Combined)
	}
	if err := guest.Kill(); err != nil {
		t.Error(err)
	}
	guest = d.mustThaw(ctx, t, "")
	if s := run(ctx, t, guest, "life.sh", "check"); !strings.Contains(s, "STATE reset") {
		t.Errorf("after the button's script: %s", s)
	}
	if err := guest.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	// The kernel command line, at every boot from now on: once.
	const reset = "ovl-restore.reset=1"
	guest = d.boot(ctx, t, reset)
	d.performed(ctx, t, guest, "reset: /")
	guest = d.mustThaw(ctx, t, reset)
	d.performed(ctx, t, guest, "asks for what was done already")
}

// performed asserts what perform said in this boot, and ends the guest.
func (*device) performed(ctx context.Context, t *testing.T, guest *vm.VM, want string) {
	t.Helper()
	if s := run(ctx, t, guest, "cat", "/vm/performed"); !strings.Contains(s, want) {
		t.Errorf("want %q, got %s", want, s)
	}
	if err := guest.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}

// pressButton watches the button in the guest, and holds it, until the guest
// reboots.
func pressButton(ctx context.Context, t *testing.T, guest *vm.VM) {
	t.Helper()
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
}

func (b *deviceBoot) testPowerCuts(t *testing.T, cuts int) {
	d := b.device(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
	defer cancel()
	life := time.Second // what a boot and a life take, on the machine as it is now
	seen := map[string]int{}
	for n := range cuts {
		began := time.Now()
		where := d.cut(ctx, t, n, life)
		for _, s := range where {
			seen[s]++
		}
		if slices.Contains(where, "requested") {
			life = time.Since(began)
		}
		if t.Failed() {
			t.Fatalf("after %d power cuts", n)
		}
	}
	guest := d.mustThaw(ctx, t, "")
	defer func() { _ = guest.Kill() }()
	run(ctx, t, guest, "life.sh", "check")
	t.Logf("%d power cuts: %v", cuts, seen)
	if cuts >= 10 && (seen["reset"] == 0 || seen["requested"] == 0) {
		t.Error("no reset was ever seen")
	}
}

// cut boots the device, lets it live, and cuts its power: one time of two while
// the reset is at work, and else at any time, or when it has asked for a reset. It
// returns what the device said of itself until then.
func (d *device) cut(ctx context.Context, t *testing.T, n int, life time.Duration) (states []string) {
	t.Helper()
	limit, after := time.Minute, time.Duration(0)
	if n%2 == 1 {
		after = time.Duration(1+rand.IntN(200)) * time.Millisecond
	} else if n%4 == 2 {
		limit = time.Duration(rand.Int64N(int64(life)))
	}
	began := time.Now()
	booting, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	guest, err := d.thaw(booting, after, "")
	if err != nil {
		switch {
		case after > 0 && errors.Is(err, vm.ErrDied):
			return []string{"cut in the reset"}
		case limit < time.Minute && booting.Err() != nil:
			return []string{"cut in the boot"}
		}
		t.Error(err)
		return nil
	}
	powerOff := func() {
		if err := guest.Kill(); err != nil {
			t.Error(err)
		}
	}
	defer powerOff()
	cut := time.AfterFunc(limit-time.Since(began), powerOff)
	defer cut.Stop()
	r, err := guest.Run(ctx, vm.Command{Args: []string{"life.sh", strconv.Itoa(n)}})
	switch {
	case err != nil && limit < time.Minute && errors.Is(err, vm.ErrDied):
		states = append(states, "cut while it was used")
	case err != nil:
		t.Error(err)
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
