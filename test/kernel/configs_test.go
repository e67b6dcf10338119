// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package kernel

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/test/namespace"
)

// config is a kind of overlay that the scenarios run on.
type config struct {
	name    string
	options []string
	nested  bool   // the lower layer is an overlay itself
	image   string // the lower layer is a read-only image of this file system
	split   bool   // lower and upper are on different file systems
}

var configs = []config{
	{name: "default"},
	{name: "redirect_dir", options: []string{"redirect_dir=on"}},
	{name: "metacopy", options: []string{"metacopy=on", "redirect_dir=on"}},
	{name: "index", options: []string{"index=on"}},
	{name: "index+redirect_dir", options: []string{"index=on", "redirect_dir=on"}},
	{name: "nfs_export", options: []string{"index=on", "nfs_export=on"}},
	{name: "nested", nested: true},
	{name: "nested+redirect_dir", nested: true, options: []string{"redirect_dir=on"}},
	{name: "userxattr", options: []string{"userxattr"}},
	{name: "volatile", options: []string{"volatile"}},
	{name: "split", split: true},
	{name: "split+xino", split: true, options: []string{"xino=on", "redirect_dir=on"}},
	{name: "split+redirect_dir", split: true, options: []string{"xino=off", "redirect_dir=on"}},
}

// allConfigs are configs, and an image below where the guest can make one.
func allConfigs() []config {
	all := slices.Clone(configs)
	for _, fs := range strings.Fields(os.Getenv("OVL_IMAGES")) {
		all = append(all,
			config{name: fs, image: fs},
			config{name: fs + "+redirect_dir", image: fs, options: []string{"redirect_dir=on"}},
			config{name: fs + "+index", image: fs, options: []string{"index=on"}})
	}
	return all
}

func (c config) has(option string) bool {
	return strings.Contains(strings.Join(c.options, ","), option)
}

func (c config) index() bool     { return c.has("index=on") }
func (c config) nfsExport() bool { return c.has("nfs_export=on") }
func (c config) redirects() bool { return c.has("redirect_dir=on") }

// onEachConfig runs a scenario on each kind of overlay, on tmpfs, ext4 and the
// other file systems that the guest has. fill fills the lower layer before it
// is mounted.
func onEachConfig(t *testing.T, fill func(o *overlay), test func(o *overlay, c config)) {
	for _, fs := range fileSystems() {
		t.Run(fs, func(t *testing.T) {
			for _, c := range allConfigs() {
				if fs == "tmpfs" && c.has("userxattr") && release(t) == "6.1" {
					continue // no user.* on its tmpfs
				}
				t.Run(c.name, func(t *testing.T) {
					o := newOverlayIn(t, dirOn(t, fs))
					if c.split {
						other := t.TempDir()
						if fs == "tmpfs" {
							other = namespace.Disk(t)
						}
						o.Lower = filepath.Join(other, "lower")
						o.must(os.Mkdir(o.Lower, 0o755))
					}
					fill(o)
					if c.nested {
						inner := newOverlayIn(t, namespace.Disk(t))
						inner.Mount(t, "lowerdir="+o.Lower)
						o.Lower = inner.Merged
					}
					if c.image != "" {
						o.makeImage(c.image)
					}
					o.start(c.options...)
					test(o, c)
				})
			}
		})
	}
}

// orders runs a check with the names looked up in one order and in the other,
// from cold caches, and then once more after the overlay was mounted again.
func (o *overlay) orders(c config, a, b string, check func()) {
	o.t.Helper()
	lookup := func(name string) {
		var st unix.Stat_t
		if err := unix.Lstat(o.merged(name), &st); err != nil {
			o.t.Errorf("lstat %s: %v", name, err)
		}
	}
	check()
	for range 2 {
		o.dropCaches()
		lookup(a)
		lookup(b)
		check()
		a, b = b, a
	}
	o.remount(c.options...)
	lookup(a)
	lookup(b)
	check()
	o.remount(c.options...)
	lookup(b)
	lookup(a)
	check()
}

// wantDistinct asserts that two names are two objects to whoever compares.
func (o *overlay) wantDistinct(a, b string) {
	o.t.Helper()
	sa, sb := o.stat(a), o.stat(b)
	if sa.Dev == sb.Dev && sa.Ino == sb.Ino {
		o.t.Errorf("%s and %s have the same st_dev and st_ino (%#x, %d)", a, b, sa.Dev, sa.Ino)
	}
}
