// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/ioctl"
)

// errStale: somebody changed the upper between our look and our act.
var errStale = fmt.Errorf("the upper changed while we looked: %w", unix.ESTALE)

// act does what was planned. Before the first change it makes sure that the rest
// can follow: the upper is proven and the flush is allowed.
func (r *restorer) act(ctx context.Context) {
	var pending, writing []*job
	for _, j := range r.jobs {
		if j.settled() || j.verify || j.Action == "" {
			continue
		}
		pending = append(pending, j)
		if j.Method == MethodRemount || j.Action == ActDiscard {
			writing = append(writing, j)
		}
	}
	if err := r.prepare(ctx, writing); err != nil {
		for _, j := range writing {
			j.fail(err)
		}
	}
	for i, j := range pending {
		r.progress(2*len(r.jobs)-len(pending)+i, len(r.jobs))
		switch {
		case j.settled():
		case ctx.Err() != nil:
			j.fail(errInterrupted)
		default:
			r.apply(j)
		}
	}
}

func (r *restorer) prepare(ctx context.Context, jobs []*job) error {
	if len(jobs) == 0 {
		return nil
	}
	for _, j := range jobs {
		dir, err := r.resolveParent(j)
		if err == nil && dir.readOnly {
			err = fmt.Errorf("the mount is read-only: %w", unix.EROFS)
		}
		if err != nil {
			j.fail(err)
		}
	}
	r.forget()
	if err := r.mayFlush(); err != nil {
		return err
	}
	upper, err := r.ProvenUpper()
	if err != nil {
		return err
	}
	if needsKeeper(jobs) {
		if r.opts.Keeper == nil {
			return fmt.Errorf("nothing was set up to keep what is dropped: %w", unix.EINVAL)
		}
		if r.keeper, err = r.opts.Keeper(upper); err != nil {
			return err
		}
	}
	if r.opts.Force {
		return nil
	}
	return r.refuseConflicts(ctx, jobs)
}

func needsKeeper(jobs []*job) bool {
	return slices.ContainsFunc(jobs, func(j *job) bool {
		return j.Action == ActDiscard || j.Action == ActRemove || j.Action == ActMerge
	})
}

// apply makes one change, once: a caller may name an entry twice, in two
// spellings, or by itself and in a tree.
func (r *restorer) apply(j *job) {
	if j.rel == "" {
		_, _ = r.resolveParent(j) // only by its own path, then
	}
	if first := r.changed[j.rel]; first != nil && j.rel != "" {
		j.Backup = first.Backup
		r.done(j, j.Action, first.Method)
		return
	}
	r.change(j)
	if j.verify && j.rel != "" {
		r.changed[j.rel] = j
	}
}

func (r *restorer) change(j *job) {
	var err error
	switch {
	case j.Action == ActRestore && j.Method == MethodIoctl:
		r.applyFirst(j)
		return
	case j.Action == ActRestore:
		err = r.removeWhiteout(j)
	case j.Action == ActDiscard && j.Method == MethodIoctl:
		err = r.discardByIoctl(j)
	case j.Action == ActDiscard, j.Action == ActRemove:
		err = r.moveAway(j)
	case j.Action == ActMerge:
		err = r.merge(j)
	}
	if err != nil {
		j.fail(err)
		return
	}
	r.done(j, j.Action, j.Method)
}

// applyFirst restores by an old kernel's ioctl. Where it says that there is no
// whiteout although there is one, the other way is taken.
func (r *restorer) applyFirst(j *job) {
	path, release, err := systemPath(j)
	if err != nil {
		j.fail(err)
		return
	}
	defer release()
	err = r.kernel.RestoreLower(path, 0)
	switch {
	case err == nil:
		r.done(j, ActRestore, MethodIoctl)
		return
	case errors.Is(err, ioctl.ErrInvalid):
		j.fail(&NothingError{State: ioctl.StateUpper})
		return
	case !errors.Is(err, unix.ENOENT) || r.opts.Method == MethodIoctl:
		j.fail(err)
		return
	}
	r.trace("the kernel's ioctl does not see the whiteout", j.Path, err)
	j.Method = MethodRemount
	if err := r.prepare(context.Background(), []*job{j}); err != nil {
		j.fail(err)
	}
	if !j.settled() {
		r.apply(j)
	}
}

// upperParent opens the directory of a job in the upper.
func (r *restorer) upperParent(j *job) (int, error) {
	dir, _ := splitRel(j.rel)
	fd, err := openBeneath(r.upper.layers[0].fd(), dir, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return -1, fmt.Errorf("open %q in the upper: %w", dir, err)
	}
	return fd, nil
}

// removeWhiteout takes a whiteout out of the upper. Somebody may put a real file
// in its place between a look and an unlink, so it is renamed first, looked at
// under the new name, and put back if it is not what was meant. A power cut in
// between leaves a whiteout of a name that nobody has: invisible and harmless.
func (r *restorer) removeWhiteout(j *job) error {
	dir, err := r.upperParent(j)
	if err != nil {
		return err
	}
	defer closeFD(dir)
	layers := r.layers()
	e, err := layers.readEntry(dir, j.name)
	switch {
	case errors.Is(err, unix.ENOENT):
		return r.removedSince()
	case err != nil:
		return fmt.Errorf("read the whiteout: %w", err)
	case !e.whiteout:
		return errStale
	}
	aside := tempName()
	if err := renameNew(dir, j.name, aside); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return r.removedSince()
		}
		return fmt.Errorf("set the whiteout aside: %w", err)
	}
	r.dirty = true
	if e, err = layers.readEntry(dir, aside); err != nil || !e.whiteout {
		if back := renameNew(dir, aside, j.name); back != nil {
			return fmt.Errorf("%w; the upper's entry is now called %q: %w", errStale, aside, back)
		}
		return errStale
	}
	if err := unix.Unlinkat(dir, aside, 0); err != nil {
		return fmt.Errorf("remove the whiteout: %w", errors.Join(err, renameNew(dir, aside, j.name)))
	}
	return nil
}

// removedSince: somebody else, perhaps another run of this tool, has removed the
// whiteout. It remains to flush, and to see what shows.
func (r *restorer) removedSince() error {
	r.dirty = true
	return nil
}

// renameNew renames within a directory, never over something. File systems that
// do not know RENAME_NOREPLACE answer EINVAL.
func renameNew(dir int, from, to string) error {
	err := unix.Renameat2(dir, from, dir, to, unix.RENAME_NOREPLACE)
	if !errors.Is(err, unix.EINVAL) {
		return err
	}
	if _, err := lstatAt(dir, to); !errors.Is(err, unix.ENOENT) {
		return unix.EEXIST
	}
	return unix.Renameat(dir, from, dir, to)
}

// moveAway hands an upper entry to the keeper, in one rename.
func (r *restorer) moveAway(j *job) error {
	dir, err := r.upperParent(j)
	if err != nil {
		return err
	}
	defer closeFD(dir)
	where, err := r.keeper.Move(dir, j.name, j.rel)
	if err != nil {
		return err
	}
	j.Backup = where
	r.dirty = true
	return nil
}

// discardByIoctl links the upper entry into the backup, then lets the kernel
// drop it.
func (r *restorer) discardByIoctl(j *job) error {
	dir, err := r.upperParent(j)
	if err != nil {
		return err
	}
	defer closeFD(dir)
	fd, err := unix.Openat(dir, j.name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the upper entry: %w", err)
	}
	defer closeFD(fd)
	if j.Backup, err = r.keeper.Link(dir, j.name, j.rel); err != nil {
		return err
	}
	var before, after unix.Stat_t
	if err := unix.Fstat(fd, &before); err != nil {
		return err
	}
	path, release, err := systemPath(j)
	if err != nil {
		return err
	}
	defer release()
	if err := r.kernel.RestoreLower(path, ioctl.DiscardUpper); err != nil {
		if errors.Is(err, ioctl.ErrNoLower) {
			return &NoLowerError{}
		}
		return err
	}
	// One link fewer: what was dropped is what was kept.
	if err := unix.Fstat(fd, &after); err != nil {
		return err
	}
	if after.Nlink != before.Nlink-1 {
		return fmt.Errorf("%w: the entry was replaced in that moment, the backup is of the one before", errStale)
	}
	return nil
}

// merge takes the opaque mark off an upper directory.
func (r *restorer) merge(j *job) error {
	dir, err := r.upperParent(j)
	if err != nil {
		return err
	}
	defer closeFD(dir)
	if err := r.keeper.Note("opaque", j.rel); err != nil {
		return err
	}
	layers := r.layers()
	err = unix.Lremovexattr(procPath(dir)+"/"+j.name, layers.prefix+xattrOpaque)
	if errors.Is(err, unix.ENODATA) {
		return errStale
	}
	if err != nil {
		return fmt.Errorf("remove the opaque mark: %w", err)
	}
	r.dirty = true
	return nil
}

// mayFlush refuses before anything was changed what flush would refuse after.
func (r *restorer) mayFlush() error {
	fs, err := unix.Fspick(r.fd(), "", unix.FSPICK_CLOEXEC|unix.FSPICK_EMPTY_PATH|unix.FSPICK_NO_AUTOMOUNT)
	if errors.Is(err, unix.ENOSYS) {
		return nil
	}
	if err != nil {
		return &FlushError{Err: err}
	}
	closeFD(fs)
	return nil
}

func (r *restorer) flushOnce() {
	if !r.dirty {
		return
	}
	err := r.flush()
	r.trace("flush the overlay's caches", r.Mount.Point, err)
	if err == nil {
		return
	}
	for _, j := range r.jobs {
		if j.verify && j.Method == MethodRemount {
			j.verify = false
			j.fail(err)
		}
	}
}

// splitRel splits a path from the overlay's root at its last component.
func splitRel(rel string) (dir, name string) {
	cut := strings.LastIndexByte(rel, '/')
	if cut < 0 {
		return ".", rel
	}
	return rel[:cut], rel[cut+1:]
}
