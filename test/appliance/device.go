// SPDX-License-Identifier: Apache-2.0

// Package appliance is a whole device in QEMU: systemd on a squashfs root, with
// overlays whose uppers are on a data file system, and two slots that RAUC
// updates. It is made of Debian's packages and of what make install installs.
//
//	device, err := appliance.New(ctx, t.TempDir())
//	guest, err := device.Boot(ctx)
//	out, err := guest.Sh(ctx, "rauc install "+appliance.Update)
//	guest, err = device.Restart(ctx, guest)
package appliance

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/ovl-restore/ovl-restore/test/vm"
)

// slotSize has room for an image that is larger than today's.
const slotSize = 96 << 20

//go:embed device/initramfs.sh
var initramfs string

// Device is a device's disks. It runs in one guest at a time.
type Device struct {
	// Slot is the one that the next boot starts: A or B.
	Slot string
	// Append is added to the kernel's command line.
	Append string

	kernel *vm.Kernel
	disks  []vm.Disk
}

// New makes a device with the first image in slot A, nothing in slot B, and a
// data file system with nothing but the update that was downloaded. Its disks
// are files in dir.
func New(ctx context.Context, dir string, variant vm.Variant) (*Device, error) {
	kernel, err := vm.Prepare(ctx, vm.Series[0], variant)
	if err != nil {
		return nil, err
	}
	images, err := makeImages(ctx)
	if err != nil {
		return nil, err
	}
	d := &Device{Slot: "A", kernel: kernel}
	path := func(name string) string { return filepath.Join(dir, name) }
	for _, slot := range []struct{ name, image string }{{"a", "v1.squashfs"}, {"b", ""}} {
		if err := makeSlot(path(slot.name), images, slot.image); err != nil {
			return nil, fmt.Errorf("make slot %s: %w", slot.name, err)
		}
		d.disks = append(d.disks, vm.Disk{Path: path(slot.name)})
	}
	if err := vm.MakeExt4(ctx, path("data"), 512<<20, "-d", filepath.Join(images, "data")); err != nil {
		return nil, err
	}
	d.disks = append(d.disks, vm.Disk{Path: path("data")})
	return d, nil
}

// Update is where the device has the second image, as a bundle for RAUC.
const Update = "/data/update/v2.raucb"

// makeImages runs images.sh and returns the directory that it made.
func makeImages(ctx context.Context) (string, error) {
	root, err := vm.Root(ctx)
	if err != nil {
		return "", err
	}
	lock, err := vm.Lock(ctx, filepath.Join(root, "build/appliance.lock"))
	if err != nil {
		return "", err
	}
	defer lock.Close()
	cmd := exec.CommandContext(ctx, filepath.Join(root, "test/appliance/images.sh"), filepath.Join(root, "build/appliance"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("make the device's images: %w\n%s", err, stderr.Bytes())
	}
	return strings.TrimSpace(string(out)), nil
}

func makeSlot(path, images, image string) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if image != "" {
		from, err := os.Open(filepath.Join(images, image))
		if err != nil {
			return err
		}
		defer from.Close()
		if _, err := io.Copy(f, from); err != nil {
			return err
		}
	}
	return f.Truncate(slotSize)
}

// Boot starts the device and waits until systemd has started everything.
func (d *Device) Boot(ctx context.Context) (*vm.VM, error) {
	guest, err := vm.Boot(ctx, vm.Config{
		Kernel:    d.kernel,
		CPUs:      2,
		Append:    strings.TrimSpace("rauc.slot=" + d.Slot + " systemd.show_status=no " + d.Append),
		Modules:   []string{"dm_verity", "evdev"},
		Disks:     d.disks,
		Init:      initramfs,
		NoScratch: true,
		BootLimit: 3 * time.Minute,
	})
	if err != nil {
		return nil, err
	}
	// What failed is the tests' matter.
	r, err := guest.Run(ctx, vm.Command{Args: []string{"systemctl", "is-system-running", "--wait"}})
	if err != nil {
		return nil, errors.Join(err, guest.Kill())
	}
	if state := strings.TrimSpace(string(r.Stdout)); state != "running" && state != "degraded" {
		return nil, errors.Join(fmt.Errorf("the device's state is %q: %s", state, r.Stderr), guest.Kill())
	}
	return guest, nil
}

// Restart shuts a device down as its user would and starts it again as its boot
// loader would: in the slot that RAUC made the primary one.
func (d *Device) Restart(ctx context.Context, guest *vm.VM) (*vm.VM, error) {
	slot, err := guest.Sh(ctx, "/usr/lib/rauc/bootloader get-primary")
	if err != nil {
		return nil, err
	}
	if err := guest.Shutdown(ctx); err != nil {
		return nil, err
	}
	d.Slot = strings.TrimSpace(slot)
	return d.Boot(ctx)
}

// Reboot waits until the device, which was told to reboot, has ended, and starts
// it again in the same slot.
func (d *Device) Reboot(ctx context.Context, guest *vm.VM) (*vm.VM, error) {
	if err := guest.Gone(ctx); err != nil {
		return nil, err
	}
	return d.Boot(ctx)
}
