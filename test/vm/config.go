// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"time"
)

// Config describes a guest. Only Kernel is needed.
type Config struct {
	Kernel *Kernel

	Memory int    // in MiB; 512 when 0
	CPUs   int    // 1 when 0
	Append string // added to the kernel's command line

	Files   []File   // put into the initramfs
	Modules []string // kernel modules to load besides the usual ones
	Env     []string // added to the environment of the commands
	Disks   []Disk   // /dev/vda and so on, in this order
	Init    string   // a shell script to run as process 1 in place of ours

	// NoScratch leaves out the ext4 disk that guests find at /scratch.
	NoScratch bool

	// BootLimit is how long the guest may take until it says hello: 60 seconds
	// when 0. What follows is limited by the contexts of the calls.
	BootLimit time.Duration
}

// Disk is a virtual disk of the guest.
type Disk struct {
	Path     string // a raw image on the host
	ReadOnly bool
	Serial   string // its serial number in the guest, or empty
}

func (c *Config) memory() int {
	if c.Memory == 0 {
		return 512
	}
	return c.Memory
}

func (c *Config) cpus() int {
	if c.CPUs == 0 {
		return 1
	}
	return c.CPUs
}

func (c *Config) bootLimit() time.Duration {
	if c.BootLimit == 0 {
		return 60 * time.Second
	}
	return c.BootLimit
}
