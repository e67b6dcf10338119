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
	booted, device := "", ""
	for _, word := range strings.Fields(string(cmdline)) {
		if slot, ok := strings.CutPrefix(word, "rauc.slot="); ok {
			booted = slot
		} else if root, ok := strings.CutPrefix(word, "root="); ok {
			device = root
		}
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
	for _, s := range slots {
		if booted != "" && s.bootname != booted && s.name != booted || booted == "" && s.device != device {
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
