// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"
)

// Drop is one entry of the upper that the caller has decided about.
type Drop struct {
	Path  string // from the overlay's root
	Merge bool   // only the mark of an opaque directory goes
}

// Drop takes entries out of the upper, so that what the image has shows, and
// verifies it, as Restore does; but each entry is named by its place in the
// upper, a directory goes with all that is in it, and what nothing lies under
// goes as well. Whiteouts, too, are noted by the keeper before they go. There is
// a Result for each entry, in their order.
//
// Of the options, Method, DryRun, Force, Keeper and Progress have a meaning.
func (o *Overlay) Drop(ctx context.Context, drops []Drop, opts RestoreOptions) []Result {
	opts.Discard, opts.KeepWhiteouts = true, true
	results := make([]Result, 0, len(drops))
	r := newRestorer(o, opts, func(result Result) { results = append(results, result) })
	defer r.forget()
	err := r.reachAll()
	var at lookedUp // the directory that was looked into last
	for _, d := range drops {
		j := &job{rel: d.Path}
		r.jobs = append(r.jobs, j)
		if err != nil {
			j.Path = d.Path
			j.fail(err)
			continue
		}
		r.planThis(j, d.Merge, &at)
		r.progress(len(r.jobs), len(drops))
	}
	at.close()
	r.settle(ctx, true)
	return results
}

// planThis plans to drop one entry of the upper.
func (r *restorer) planThis(j *job, merge bool, at *lookedUp) {
	j.Path = j.rel
	path, ok := r.PathOf(j.rel)
	if !ok || j.rel == r.rootRel() {
		j.fail(fmt.Errorf("it is not below %q: %w", r.Mount.Point, errNotHere))
		return
	}
	var err error
	if j.Path, j.parent, j.name, err = cleanPath(path); err != nil {
		j.fail(err)
		return
	}
	if parent, _ := splitRel(j.rel); at.open == nil || at.path != parent {
		at.close()
		if at.open, err = r.layers().openAt(parent); err != nil {
			j.fail(err)
			return
		}
		at.path = parent
	}
	up, found, err := at.open.upperEntry(j.name)
	if err == nil && !found {
		err = errStale
	}
	low, hasLower, lowErr := at.open.lowerEntry(j.name)
	if err == nil {
		err = lowErr
	}
	if err != nil {
		j.fail(err)
		return
	}
	j.orphan, j.isDir = !hasLower, up.isDir()
	if hasLower {
		j.low = low.ref()
	}
	switch {
	case merge && up.isDir() && hasLower && low.isDir():
		r.intend(j, ActMerge, MethodRemount)
	case merge:
		j.fail(errStale)
	case up.whiteout && hasLower && r.opts.Method != MethodRemount && r.askKernel() == contractCurrent:
		r.intend(j, ActRestore, MethodIoctl)
	case up.whiteout:
		r.intend(j, ActRestore, MethodRemount)
	default:
		// The kernel cannot look a copy of metadata up whose content is not below it
		// any more.
		if r.layers().metacopy {
			j.throughUpper, err = r.layers().hasXattr(at.open.upper, j.name, xattrMetacopy)
		}
		if err != nil {
			j.fail(err)
			return
		}
		r.planDrop(j)
	}
}

// Drop takes entries out of the upper of an overlay that is not mounted. Each is
// moved to the keeper, whiteouts too; of an opaque directory that is to merge,
// only the mark goes. The error is a *MountedError for an overlay that is mounted
// after all; there is a Result for each entry that was tried.
func (u *Unmounted) Drop(ctx context.Context, drops []Drop, keeper Keeper) ([]Result, error) {
	if err := u.inUse(); err != nil {
		return nil, err
	}
	results := make([]Result, 0, len(drops))
	for _, d := range drops {
		if ctx.Err() != nil {
			return results, context.Cause(ctx)
		}
		r := Result{Path: d.Path, Action: ActDiscard, Status: StatusDone}
		if d.Merge {
			r.Action = ActMerge
		}
		if r.Backup, r.Err = u.drop(&r, d, keeper); r.Err != nil {
			r.Status = StatusFailed
		}
		results = append(results, r)
	}
	return results, nil
}

func (u *Unmounted) drop(r *Result, d Drop, keeper Keeper) (backup string, err error) {
	dir, name := splitRel(d.Path)
	fd, err := openBeneath(u.Layers.upper.fd(), dir, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return "", fmt.Errorf("open its directory: %w", err)
	}
	defer closeFD(fd)
	if d.Merge {
		if err := keeper.Note("opaque", d.Path); err != nil {
			return "", err
		}
		return "", unix.Lremovexattr(procPath(fd)+"/"+name, u.Layers.prefix+xattrOpaque)
	}
	e, err := u.Layers.readEntry(fd, name)
	if err != nil {
		return "", err
	}
	if e.whiteout {
		r.Action = ActRestore
	}
	return keeper.Move(fd, name, d.Path)
}
