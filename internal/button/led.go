// SPDX-License-Identifier: Apache-2.0

package button

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// LED is a light of /sys/class/leds. What goes wrong with it is no reason not to
// reset: it is told once, by OpenLED.
type LED struct {
	dir     string
	trigger string // that it had before
	before  []byte // the brightness that it had
	full    []byte
	lit     bool
	used    bool
}

// OpenLED finds a light by its name, or by its directory. Nothing is changed.
func OpenLED(name string) (*LED, error) {
	dir := name
	if !strings.Contains(name, "/") {
		dir = filepath.Join("/sys/class/leds", name)
	}
	l := &LED{dir: dir}
	full, err := os.ReadFile(filepath.Join(dir, "max_brightness"))
	if err != nil {
		return nil, fmt.Errorf("find the light: %w", err)
	}
	l.full = bytes.TrimSpace(full)
	return l, nil
}

// set lights it, or puts it out. The first time, it is taken over from what it
// showed.
func (l *LED) set(on bool) {
	if l == nil || l.used && l.lit == on {
		return
	}
	if !l.used {
		l.used = true
		if triggers, err := os.ReadFile(filepath.Join(l.dir, "trigger")); err == nil {
			_, after, _ := strings.Cut(string(triggers), "[")
			l.trigger, _, _ = strings.Cut(after, "]")
		}
		if b, err := os.ReadFile(filepath.Join(l.dir, "brightness")); err == nil {
			l.before = bytes.TrimSpace(b)
		}
		l.write("trigger", []byte("none"))
	}
	l.lit = on
	value := []byte("0")
	if on {
		value = l.full
	}
	l.write("brightness", value)
}

// restore gives it back.
func (l *LED) restore() {
	if l == nil || !l.used {
		return
	}
	l.used = false
	if len(l.before) > 0 {
		l.write("brightness", l.before)
	}
	if l.trigger != "" {
		l.write("trigger", []byte(l.trigger))
	}
}

func (l *LED) write(name string, value []byte) {
	f, err := os.OpenFile(filepath.Join(l.dir, name), os.O_WRONLY, 0)
	if err != nil {
		return
	}
	_, _ = f.Write(append(value[:len(value):len(value)], '\n'))
	_ = f.Close()
}
