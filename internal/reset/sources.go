// SPDX-License-Identifier: Apache-2.0

package reset

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/journal"
)

// FromFstab lists the overlays that have an upper in the fstab of a system whose
// root is root. Paths are root's.
func FromFstab(root string) ([]Overlay, error) {
	data, err := os.ReadFile(filepath.Join(root, "etc/fstab"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []Overlay
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) < 4 || strings.HasPrefix(f[0], "#") || f[2] != "overlay" {
			continue
		}
		if o := fromOptions(unescapeOctal(f[1]), unescapeOctal(f[3])); o.Upper != "" {
			all = append(all, o.Below(root))
		}
	}
	return all, nil
}

// unescapeOctal reads what fstab writes as \040.
func unescapeOctal(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// unitDirs are where mount units lie, the strongest first.
var unitDirs = []string{"etc/systemd/system", "run/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"}

// FromUnits lists the overlays that have an upper in systemd's mount units of a
// system whose root is root. Paths are root's.
func FromUnits(root string) ([]Overlay, error) {
	var all []Overlay
	var seen []string
	for _, dir := range unitDirs {
		files, err := filepath.Glob(filepath.Join(root, dir, "*.mount"))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			name := filepath.Base(file)
			if slices.Contains(seen, name) {
				continue
			}
			seen = append(seen, name)
			o, err := readUnit(file)
			if err != nil {
				return nil, fmt.Errorf("read %q: %w", file, err)
			}
			if o.Upper != "" {
				all = append(all, o.Below(root))
			}
		}
	}
	return all, nil
}

// readUnit reads a mount unit; the overlay has no upper where it is none.
func readUnit(file string) (Overlay, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) { // a link to nothing
		return Overlay{}, nil
	}
	if err != nil {
		return Overlay{}, err
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() { // masked
		return Overlay{}, err
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return Overlay{}, err
	}
	keys := map[string]string{}
	section := ""
	text := strings.ReplaceAll(string(data), "\\\n", " ")
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = line
		}
		if key, value, ok := strings.Cut(line, "="); ok && section == "[Mount]" {
			keys[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
	}
	if keys["Type"] != "overlay" {
		return Overlay{}, nil
	}
	return fromOptions(keys["Where"], strings.ReplaceAll(keys["Options"], " ", "")), nil
}

// fromOptions reads the options of an overlay mount.
func fromOptions(mount, options string) Overlay {
	o := Overlay{Mount: filepath.Clean(mount)}
	for _, option := range splitEscaped(options, ',') {
		key, value, _ := strings.Cut(option, "=")
		switch key {
		case "upperdir":
			o.Upper = unescape(value)
		case "workdir":
			o.Work = unescape(value)
		case "lowerdir":
			value, _, _ = strings.Cut(value, "::") // data only
			for _, lower := range splitEscaped(value, ':') {
				o.Lowers = append(o.Lowers, unescape(lower))
			}
		case "lowerdir+":
			o.Lowers = append(o.Lowers, value)
		}
	}
	return o
}

// splitEscaped splits at a character that no backslash stands before.
func splitEscaped(s string, at byte) (parts []string) {
	from := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case at:
			parts = append(parts, s[from:i])
			from = i + 1
		}
	}
	return append(parts, s[from:])
}

func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// Below is the same overlay where the system's root is somewhere else.
func (o Overlay) Below(root string) Overlay {
	if root == "" || root == "/" {
		return o
	}
	at := func(path string) string {
		if path == "" {
			return ""
		}
		return filepath.Join(root, path)
	}
	if o.Store == "" {
		o.Store = journal.StoreName(o.Upper)
	}
	o.Upper, o.Work = at(o.Upper), at(o.Work)
	o.Lowers = slices.Clone(o.Lowers)
	for i := range o.Lowers {
		o.Lowers[i] = at(o.Lowers[i])
	}
	return o
}
