// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/test/vm/wire"
)

// writeInitramfs writes the guest's first and, mostly, only file system.
func (c *Config) writeInitramfs(ctx context.Context, file string) (err error) {
	t := newTree()
	program, err := guestProgram(ctx)
	if err != nil {
		return err
	}
	err = errors.Join(
		t.add(File{Guest: wire.ProgramPath, Host: program, Mode: 0o755}),
		t.add(File{Guest: "/bin/busybox", Host: c.Kernel.Busybox, Mode: 0o755}),
		t.add(File{Guest: "/etc/passwd", Content: []byte("root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")}),
		t.add(File{Guest: "/etc/group", Content: []byte("root:x:0:\nnogroup:x:65534:\n")}),
		t.add(File{Guest: "/etc/os-release", Content: []byte("ID=ovl-vm\nVERSION_ID=1\n")}),
	)
	if err != nil {
		return fmt.Errorf("fill the initramfs: %w", err)
	}
	t.symlink("init", wire.ProgramPath)
	if c.Init != "" {
		t.put("init", entry{mode: unix.S_IFREG | 0o755, data: []byte("#!/bin/busybox sh\n" + c.Init)})
	}
	config := wire.Config{Env: c.guestEnv(), Scratch: !c.NoScratch}
	if config.Modules, err = c.addModules(t); err != nil {
		return err
	}
	data, err := json.Marshal(config)
	if err != nil {
		return fmt.Errorf("encode the guest's configuration: %w", err)
	}
	t.put(guestName(wire.ConfigPath), entry{mode: unix.S_IFREG | 0o644, data: data})
	for _, f := range c.Files {
		if err := t.add(f); err != nil {
			return fmt.Errorf("add %s to the initramfs: %w", f.Guest, err)
		}
	}
	out, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("make the initramfs: %w", err)
	}
	if err := errors.Join(t.write(out), out.Close()); err != nil {
		return fmt.Errorf("write the initramfs: %w", err)
	}
	return nil
}

// addModules adds the kernel's modules and returns the paths of those to load
// at once.
func (c *Config) addModules(t tree) ([]string, error) {
	m := c.Kernel.modules
	dir := path.Join("/lib/modules", c.Kernel.Release)
	load, err := m.order(slices.Concat(c.Kernel.machine.modules, bootModules, c.Modules)...)
	if err != nil {
		return nil, err
	}
	spare, err := m.spare()
	if err != nil {
		return nil, err
	}
	files := append(append([]string{"modules.dep", "modules.alias"}, spare...), load...)
	for _, file := range files {
		host := filepath.Join(m.dir, file)
		if moduleName(file) == "overlay" && c.Kernel.overlay != "" {
			host = c.Kernel.overlay
		}
		if err := t.add(File{Guest: path.Join(dir, file), Host: host}); err != nil {
			return nil, fmt.Errorf("add a kernel module: %w", err)
		}
	}
	if c.Kernel.deleg != "" {
		if err := t.add(File{Guest: "/lib/modules/deleg.ko", Host: c.Kernel.deleg}); err != nil {
			return nil, fmt.Errorf("add a kernel module: %w", err)
		}
	}
	for i := range load {
		load[i] = path.Join(dir, load[i])
	}
	return load, nil
}

// guestEnv is the environment of the commands in the guest. Tests look at
// OVL_VM (stock or patched) and OVL_VM_SERIES to know what they run on, and
// work on OVL_SCRATCH where they need a file system on a disk.
func (c *Config) guestEnv() []string {
	env := []string{
		"PATH=/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin",
		"HOME=/root",
		"USER=root",
		"LANG=C.UTF-8",
		"TMPDIR=/tmp",
		"OVL_VM=" + string(c.Kernel.Variant),
		"OVL_VM_SERIES=" + c.Kernel.Series,
	}
	if !c.NoScratch {
		env = append(env, "OVL_SCRATCH="+wire.ScratchDir)
	}
	return append(env, c.Env...)
}
