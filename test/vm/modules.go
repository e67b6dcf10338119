// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// bootModules are loaded before anything runs.
var bootModules = []string{"overlay", "virtio_pci", "virtio_blk", "loop", "squashfs", "ext4"}

// spareModules lie in the guest's /lib/modules until the kernel asks for them
// at a mount, or a test by modprobe. A kernel may lack some of them.
var spareModules = []string{"erofs", "xfs", "btrfs", "f2fs", "fuse", "evdev", "crc32_generic", "crc32c_generic"}

// modules are the modules of a kernel, as depmod lists them.
type modules struct {
	dir string
	// files maps a module's name to its path below dir, needs to the paths of
	// what has to be loaded first, in reverse order.
	files map[string]string
	needs map[string][]string
	// builtin are the modules that are part of the kernel.
	builtin map[string]bool
}

func readModules(dir string) (*modules, error) {
	m := &modules{
		dir:     dir,
		files:   make(map[string]string),
		needs:   make(map[string][]string),
		builtin: make(map[string]bool),
	}
	deps, err := os.ReadFile(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return nil, fmt.Errorf("read the modules' dependencies: %w", err)
	}
	for line := range strings.Lines(string(deps)) {
		file, needs, _ := strings.Cut(line, ":")
		m.files[moduleName(file)] = file
		m.needs[moduleName(file)] = strings.Fields(needs)
	}
	builtin, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return nil, fmt.Errorf("read the kernel's own modules: %w", err)
	}
	for _, file := range strings.Fields(string(builtin)) {
		m.builtin[moduleName(file)] = true
	}
	return m, nil
}

// moduleName is the name that a module file goes by: the kernel makes no
// difference between - and _.
func moduleName(file string) string {
	return strings.ReplaceAll(strings.TrimSuffix(path.Base(file), ".ko"), "-", "_")
}

// order returns the files of the named modules and of all they need, each
// after what it needs.
func (m *modules) order(names ...string) ([]string, error) {
	var files []string
	for _, name := range names {
		name = moduleName(name)
		if m.builtin[name] {
			continue
		}
		file, ok := m.files[name]
		if !ok {
			return nil, fmt.Errorf("no kernel module %s in %s", name, m.dir)
		}
		needs := slices.Clone(m.needs[name])
		slices.Reverse(needs)
		for _, f := range append(needs, file) {
			if !slices.Contains(files, f) {
				files = append(files, f)
			}
		}
	}
	return files, nil
}

// spare returns the files of those spare modules that this kernel has.
func (m *modules) spare() ([]string, error) {
	return m.order(slices.DeleteFunc(slices.Clone(spareModules), func(name string) bool {
		return m.files[name] == ""
	})...)
}
