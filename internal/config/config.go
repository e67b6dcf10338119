// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Name is that of the configuration's file; what its drop-in directory, Name
// with ".d", has is read after it.
const Name = "ovl-restore.toml"

// Config is the configuration of a device. Its zero value is valid: what is not
// said is found out, or has the default that is said with it.
type Config struct {
	// Image says how the image is identified.
	Image struct {
		// Command prints what tells one image from another; its first element is
		// the program. Empty for os-release.
		Command []string
	}
	// Base says where the image is that ran before: one of these.
	Base struct {
		Device string // a block device
		Label  string // of its file system
		Path   string // a directory
		RAUC   bool   // the other slot that RAUC knows
	}
	// Reconcile says how the upper is fitted to a new image.
	Reconcile struct {
		PruneOrphans bool // drop whiteouts that hide nothing
		// DeletedButUpdated is "keep" or "restore": what becomes of a file that the
		// user deleted and the new image has another version of.
		DeletedButUpdated string
		Exclude           []string // mount points of overlays that are left alone
	}
	// Store says where what is dropped is kept, and how much of it; 0 means no
	// limit.
	Store struct {
		Path     string // of a directory for the stores; empty for beside each upper
		MaxCount int    // of transactions
		MaxAge   time.Duration
		MaxBytes int64
	}
	// Reset says how the device is reset.
	Reset struct {
		Keep []string // globs of what is kept, besides the keep lists
		Wipe bool     // overwrite what is removed
	}
	// Overlays are those that are not mounted yet when they are needed.
	Overlays []Overlay
}

// Overlay is one overlay of a device, as it will be mounted.
type Overlay struct {
	Mount     string   // where
	Lower     []string // topmost first
	Upper     string
	Work      string
	UserXattr bool
}

// Load reads the configuration. The file of a stronger directory replaces a
// weaker one's; each drop-in then sets single keys, and adds overlays. What does
// not exist is left at its default. Errors in a file are of type *Error.
func Load(d Dirs) (*Config, error) {
	c := &Config{}
	c.Reconcile.DeletedButUpdated = "keep"
	c.Store.MaxCount = 20
	c.Store.MaxAge = 90 * 24 * time.Hour
	paths, err := d.DropIns(Name+".d", ".toml")
	if err != nil {
		return nil, err
	}
	for i := len(d) - 1; i >= 0; i-- {
		path := filepath.Join(d[i], Name)
		if _, err := os.Stat(path); err == nil || !errors.Is(err, os.ErrNotExist) {
			paths = append([]string{path}, paths...)
			break
		}
	}
	for _, path := range paths {
		data, err := ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read the configuration: %w", err)
		}
		if err := c.read(path, data); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *Config) read(path string, data []byte) error {
	return Read(path, data, Tables{
		"": func() Keys { return nil },
		"image": func() Keys {
			return Keys{"command": Strings(&c.Image.Command)}
		},
		"base": func() Keys {
			return Keys{
				"device": String(&c.Base.Device),
				"label":  String(&c.Base.Label),
				"path":   absolute(&c.Base.Path),
				"rauc":   Bool(&c.Base.RAUC),
			}
		},
		"reconcile": func() Keys {
			return Keys{
				"prune-orphans":       Bool(&c.Reconcile.PruneOrphans),
				"deleted-but-updated": OneOf(&c.Reconcile.DeletedButUpdated, "keep", "restore"),
				"exclude":             Strings(&c.Reconcile.Exclude),
			}
		},
		"store": func() Keys {
			return Keys{
				"path":      absolute(&c.Store.Path),
				"max-count": Int(&c.Store.MaxCount),
				"max-age":   Duration(&c.Store.MaxAge),
				"max-bytes": Size(&c.Store.MaxBytes),
			}
		},
		"reset": func() Keys {
			return Keys{"keep": Strings(&c.Reset.Keep), "wipe": Bool(&c.Reset.Wipe)}
		},
		"overlay": func() Keys {
			c.Overlays = append(c.Overlays, Overlay{})
			o := &c.Overlays[len(c.Overlays)-1]
			return Keys{
				"mount":     absolute(&o.Mount),
				"lower":     Strings(&o.Lower),
				"upper":     absolute(&o.Upper),
				"work":      absolute(&o.Work),
				"userxattr": Bool(&o.UserXattr),
			}
		},
	})
}

// absolute sets a path that has to mean the same for everybody.
func absolute(to *string) Setter {
	return func(v Value) error {
		s, _ := v.(string)
		if !filepath.IsAbs(s) {
			return errors.New(`it takes an absolute path: "/…"`)
		}
		*to = filepath.Clean(s)
		return nil
	}
}
