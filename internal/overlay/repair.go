// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// RepairOptions say how to repair.
type RepairOptions struct {
	// Keeper is asked for before the first change.
	Keeper func(upper *Layer) (Keeper, error)
}

// ErrMountedRepair says that the repair is not one that Restore does, and so not
// one for a mounted overlay.
var ErrMountedRepair = errors.New("it is not repaired while the overlay is mounted")

// Repair repairs those of the findings that are safe to repair on a mounted
// overlay: whiteouts that hide nothing are restored, with a note in the journal.
// It fills in what became of each.
func (o *Overlay) Repair(ctx context.Context, findings []Finding, opts RepairOptions) error {
	var (
		paths []string
		which []*Finding
	)
	for i := range findings {
		f := &findings[i]
		if f.Code != OrphanWhiteout && f.Code != ExposedWhiteout {
			if f.Code.Repairable() {
				f.Err = ErrMountedRepair
			}
			continue
		}
		path, ok := o.pathOf(f.Path)
		if !ok {
			f.Err = fmt.Errorf("it is not below %q: %w", o.Mount.Point, errNotHere)
			continue
		}
		paths, which = append(paths, path), append(which, f)
	}
	if len(paths) == 0 {
		return nil
	}
	upper, err := o.ProvenUpper()
	if err != nil {
		return err
	}
	keeper, err := opts.Keeper(upper)
	if err != nil {
		return err
	}
	for _, f := range which {
		if err := keeper.Note("whiteout", f.Path); err != nil {
			return err
		}
	}
	for i, r := range o.Restore(ctx, paths, RestoreOptions{Keeper: opts.Keeper}) {
		var orphan *NoLowerError
		which[i].Repaired = r.Err == nil || errors.As(r.Err, &orphan) && orphan.WhiteoutGone
		if !which[i].Repaired {
			which[i].Err = r.Err
		}
	}
	return nil
}

// pathOf says where this mount shows an entry of the overlay.
func (o *Overlay) pathOf(rel string) (string, bool) {
	if root := o.rootRel(); root != "." {
		var ok bool
		if rel, ok = below(root, rel); !ok || rel == "." {
			return "", false
		}
	}
	return strings.TrimSuffix(o.Mount.Point, "/") + "/" + rel, true
}

// Repair repairs those of the findings that are safe to repair on an overlay
// that is not mounted. What is dropped goes to the keeper first. The error is a
// *MountedError for an overlay that is mounted after all.
func (u *Unmounted) Repair(ctx context.Context, findings []Finding, opts RepairOptions) error {
	if err := u.inUse(); err != nil {
		return err
	}
	var keeper Keeper
	for i := range findings {
		f := &findings[i]
		if !f.Code.Repairable() {
			continue
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if keeper == nil {
			var err error
			if keeper, err = opts.Keeper(u.Layers.upper); err != nil {
				return err
			}
		}
		f.Backup, f.Err = u.repair(f, keeper)
		f.Repaired = f.Err == nil
	}
	return nil
}

func (u *Unmounted) repair(f *Finding, keeper Keeper) (backup string, err error) {
	root := u.Layers.upper
	if f.In == InWork {
		root = u.work
	}
	dir, name := splitRel(f.Path)
	fd, err := openBeneath(root.fd(), dir, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return "", fmt.Errorf("open its directory: %w", err)
	}
	defer closeFD(fd)
	switch f.Code {
	case OrphanWhiteout, ExposedWhiteout:
		e, err := u.Layers.readEntry(fd, name)
		if err == nil && !e.whiteout {
			err = errStale
		}
		if err != nil {
			return "", err
		}
		return keeper.Move(fd, name, f.Path)
	case WorkLeftover:
		// No path from the overlay's root leads there.
		return keeper.Move(fd, name, filepath.Join(root.Where, f.Path))
	case ImpureMissing:
		if err := keeper.Note("impure", f.Path); err != nil {
			return "", err
		}
		if err := unix.Lsetxattr(procPath(fd)+"/"+name, u.Layers.prefix+xattrImpure, []byte("y"), 0); err != nil {
			return "", fmt.Errorf("set %s%s: %w", u.Layers.prefix, xattrImpure, err)
		}
		return "", nil
	default:
		return "", nil
	}
}
