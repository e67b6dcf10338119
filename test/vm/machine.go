// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"fmt"
	"os"
)

// machine is a kind of computer that QEMU makes for a kernel.
type machine struct {
	arch    string // as Debian calls it
	goarch  string // of the programs that run on it
	qemu    string
	console string // the guest's name of the serial port that its kernel prints to
	args    []string
	modules []string // to be loaded besides bootModules
	// bus is how the names of virtio devices end.
	bus string
}

var machines = []machine{
	{
		arch: "amd64", goarch: "amd64", qemu: "qemu-system-x86_64", console: "ttyS0", bus: "-pci",
		args: []string{"-machine", "pc", "-cpu", "max"},
	},
	{
		arch: "arm64", goarch: "arm64", qemu: "qemu-system-aarch64", console: "ttyAMA0", bus: "-device",
		args:    []string{"-machine", "virt", "-cpu", "cortex-a57"},
		modules: []string{"virtio_mmio", "virtio_console"},
	},
	{
		arch: "armhf", goarch: "arm", qemu: "qemu-system-arm", console: "ttyAMA0", bus: "-device",
		args:    []string{"-machine", "virt", "-cpu", "cortex-a15"},
		modules: []string{"virtio_mmio", "virtio_console", "crc32c_generic"},
	},
}

// currentMachine is the one that OVL_VM_ARCH names, or amd64.
func currentMachine() (machine, error) {
	arch := os.Getenv("OVL_VM_ARCH")
	if arch == "" {
		arch = "amd64"
	}
	for _, m := range machines {
		if m.arch == arch {
			return m, nil
		}
	}
	return machine{}, fmt.Errorf("no machine for OVL_VM_ARCH=%s", arch)
}

// agentPort are QEMU's arguments for the line to the agent: a second serial
// port, or, on a machine that has only one, a port of virtio's.
func (m machine) agentPort() []string {
	if m.arch == "amd64" {
		return []string{"-serial", "chardev:agent"}
	}
	return []string{"-device", "virtio-serial-device", "-device", "virtserialport,chardev=agent,name=agent"}
}
