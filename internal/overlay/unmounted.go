// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// Unmounted is an overlay that is not mounted, to be checked and repaired.
type Unmounted struct {
	Layers *Layers
	work   *Layer // nil for none
	data   []LayerPath
}

// Directories are those of an overlay that is not mounted.
type Directories struct {
	Upper    string
	Lowers   []string // topmost first
	DataOnly []string
	Work     string // "" for one that is not to be looked at
}

// OpenUnmounted opens the layers of an overlay that is not mounted. Close it
// after use.
func OpenUnmounted(d Directories, opts LayerOptions) (*Unmounted, error) {
	layers, err := OpenLayers(d.Upper, d.Lowers, opts)
	if err != nil {
		return nil, err
	}
	u := &Unmounted{Layers: layers}
	for _, path := range d.DataOnly {
		u.data = append(u.data, newLayerPath(path))
	}
	if d.Work == "" {
		return u, nil
	}
	if u.work, err = openNamed(d.Work); err != nil {
		return nil, errors.Join(fmt.Errorf("open the work directory: %w", err), u.Close())
	}
	return u, nil
}

// Close releases the layers.
func (u *Unmounted) Close() error {
	err := u.Layers.Close()
	if u.work != nil {
		err = errors.Join(err, u.work.root.Close())
	}
	return err
}

// Check looks for what is wrong, and writes nothing; see Overlay.Check. The
// overlay is taken to be mounted, the next time, with redirects and metacopies
// where its attributes can have them.
func (u *Unmounted) Check(ctx context.Context, opts CheckOptions) ([]Finding, error) {
	userxattr := u.Layers.prefix == Config{UserXattr: true}.xattrPrefix()
	c := &checker{
		layers: u.Layers, work: u.work, opts: opts,
		follow: !userxattr, metacopy: !userxattr, config: Config{DataOnly: u.data},
	}
	return c.run(ctx)
}

// MountedError says that an upper is in use by a mounted overlay.
type MountedError struct {
	Upper string
	Point string // where it is mounted
	PID   int    // a process that sees it there; 0 for this mount name space
}

func (e *MountedError) Error() string {
	if e.PID != 0 {
		return fmt.Sprintf("the upper %q is in use: process %d has the overlay mounted on %q", e.Upper, e.PID, e.Point)
	}
	return fmt.Sprintf("the upper %q is in use: the overlay is mounted on %q", e.Upper, e.Point)
}

// Unwrap returns EBUSY.
func (e *MountedError) Unwrap() error { return unix.EBUSY }

// inUse looks for a mounted overlay with this upper: in this mount name space,
// and in those of all processes that can be asked. The kernel itself does not
// tell.
func (u *Unmounted) inUse() error {
	var want unix.Stat_t
	if err := unix.Fstat(u.Layers.upper.fd(), &want); err != nil {
		return err
	}
	isUpper := func(path string) bool {
		var st unix.Stat_t
		return unix.Stat(path, &st) == nil && st.Dev == want.Dev && st.Ino == want.Ino
	}
	mounts, err := Mounts()
	if err != nil {
		return err
	}
	for _, m := range mounts {
		for _, path := range m.Config.Upper.spellings() {
			// A relative path may lead anywhere: the end of it has to do.
			if filepath.IsAbs(path) && isUpper(path) || !filepath.IsAbs(path) && isUpper(filepath.Join(filepath.Dir(m.Point), path)) {
				return &MountedError{Upper: u.Layers.upper.Path, Point: m.Point}
			}
		}
	}
	return u.inUseElsewhere(isUpper)
}

func (u *Unmounted) inUseElsewhere(isUpper func(string) bool) error {
	own, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return nil //nolint:nilerr // without name spaces there is no other
	}
	seen := map[string]bool{own: true}
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	for _, proc := range procs {
		space, err := os.Readlink(proc + "/ns/mnt")
		if err != nil || seen[space] {
			continue
		}
		seen[space] = true
		pid, err := strconv.Atoi(filepath.Base(proc))
		if err != nil {
			continue
		}
		for _, m := range overlaysOf(proc) {
			for _, path := range m.Config.Upper.spellings() {
				if filepath.IsAbs(path) && isUpper(proc+"/root"+path) {
					return &MountedError{Upper: u.Layers.upper.Path, Point: m.Point, PID: pid}
				}
			}
		}
	}
	return nil
}

// overlaysOf lists the overlays in the mount name space of a process; none where
// it has ended, or may not be asked.
func overlaysOf(proc string) []Mount {
	f, err := os.Open(proc + "/mountinfo")
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	infos, err := mountinfo.GetMountsFromReader(f, nil)
	if err != nil {
		return nil
	}
	return mountTable(infos).overlays()
}
