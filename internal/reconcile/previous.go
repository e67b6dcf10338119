// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/ovl-restore/ovl-restore/internal/config"
	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

// Previous is the image that ran before, as far as the configuration leads to it.
type Previous struct {
	Dir  string // shows it; "" for none
	root *os.File
}

// OpenPrevious opens the image of the configuration's table [base]: a directory,
// or a device, which is mounted read-only where nobody else sees it. Close it
// after use.
func OpenPrevious(conf *config.Config) (*Previous, error) {
	device := conf.Base.Device
	switch {
	case conf.Base.Path != "":
		return &Previous{Dir: conf.Base.Path}, nil
	case conf.Base.Label != "":
		device = "/dev/disk/by-label/" + conf.Base.Label
	case conf.Base.RAUC:
		var err error
		if device, err = otherSlot(""); err != nil {
			return nil, fmt.Errorf("find RAUC's other slot: %w", err)
		}
	}
	if device == "" {
		return &Previous{}, nil
	}
	root, err := overlay.MountReadOnly(device)
	if err != nil {
		return nil, fmt.Errorf("mount the image before, from %q: %w", device, err)
	}
	return &Previous{Dir: fmt.Sprintf("/proc/self/fd/%d", root.Fd()), root: root}, nil
}

// Close unmounts it.
func (p *Previous) Close() error {
	if p.root == nil {
		return nil
	}
	return p.root.Close()
}

// errNoSlot: RAUC's configuration has no other slot.
var errNoSlot = errors.New("the kernel command line names, by rauc.slot= or root=, no slot that has another of its class")

// otherSlot finds the device of the slot of the booted one's class that is not
// booted, in RAUC's configuration and the kernel command line below root.
func otherSlot(root string) (string, error) {
	cmdline, err := os.ReadFile(filepath.Join(root, "/proc/cmdline"))
	if err != nil {
		return "", err
	}
	var data []byte
	for _, dir := range []string{"/etc/rauc", "/run/rauc", "/usr/lib/rauc"} {
		if data, err = config.ReadFile(filepath.Join(root, dir, "system.conf")); !errors.Is(err, os.ErrNotExist) {
			break
		}
	}
	if err != nil {
		return "", err
	}
	slots := parseSlots(string(data))
	name, device := bootedSlot(string(cmdline))
	if device != "" {
		device = resolve(root, device)
	}
	for _, s := range slots {
		if name != "" && s.bootname != name && s.name != name || name == "" && (device == "" || resolve(root, s.device) != device) {
			continue
		}
		class, _, _ := strings.Cut(s.name, ".")
		for _, other := range slots {
			if other.name != s.name && strings.HasPrefix(other.name, class+".") {
				return other.device, nil
			}
		}
	}
	return "", errNoSlot
}

// bootedSlot is what a kernel command line says of the booted slot, in the order
// in which RAUC takes it: a slot's name or bootname, or else its device; neither
// for a system that was booted from elsewhere.
func bootedSlot(cmdline string) (name, device string) {
	said := map[string]string{}
	for _, word := range strings.Fields(cmdline) {
		key, value, _ := strings.Cut(word, "=")
		if _, known := said[key]; !known {
			said[key] = value
		}
	}
	if _, elsewhere := said["rauc.external"]; elsewhere {
		return "", ""
	}
	for _, key := range []string{"rauc.slot", "bootstate.active", "bootchooser.active"} {
		if said[key] != "" {
			return said[key], ""
		}
	}
	device = said["root"]
	if device == "" {
		device = said["systemd.verity_root_data"]
	}
	for _, tag := range []string{"PARTLABEL", "PARTUUID", "UUID"} {
		if value, ok := strings.CutPrefix(device, tag+"="); ok {
			return "", "/dev/disk/by-" + strings.ToLower(tag) + "/" + value
		}
	}
	return "", device
}

// resolve is the path of a device itself: most are called by a link.
func resolve(root, device string) string {
	if path, err := filepath.EvalSymlinks(filepath.Join(root, device)); err == nil {
		return path
	}
	return filepath.Join(root, device)
}

type slot struct{ name, device, bootname string }

// parseSlots reads the slots of RAUC's system.conf.
func parseSlots(text string) []slot {
	var slots []slot
	var at *slot
	for _, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			at = nil
			if name, ok := strings.CutPrefix(strings.Trim(line, "[]"), "slot."); ok {
				slots = append(slots, slot{name: name})
				at = &slots[len(slots)-1]
			}
			continue
		}
		key, value, _ := strings.Cut(line, "=")
		if at == nil || strings.HasPrefix(line, "#") {
			continue
		}
		switch value = strings.TrimSpace(value); strings.TrimSpace(key) {
		case "device":
			at.device = value
		case "bootname":
			at.bootname = value
		}
	}
	return slots
}
