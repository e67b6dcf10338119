// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/ioctl"
)

// verify looks at every changed path as a user would: does the name resolve, is
// it listed, and is it the lower's own entry? Paths of one directory are looked
// at together, since each look lists the directory.
func (r *restorer) verify() {
	r.forget()
	r.reachNamedLowersAgain()
	failed := r.verifyAll()
	if len(failed) == 0 || r.dirty {
		r.blame(failed)
		return
	}
	// An ioctl that left something stale behind: a flush helps, if anything.
	if err := r.flush(); err != nil {
		r.trace("flush the overlay's caches", r.Mount.Point, err)
	}
	r.forget()
	r.blame(r.verifyAll())
}

// mismatch is a job that is not as it should be in the merged view.
type mismatch struct {
	job *job
	err error
}

func (r *restorer) verifyAll() []mismatch {
	byParent := map[string][]*job{}
	var parents []string
	for _, j := range r.jobs {
		if !j.verify {
			continue
		}
		if byParent[j.parent] == nil {
			parents = append(parents, j.parent)
		}
		byParent[j.parent] = append(byParent[j.parent], j)
	}
	var failed []mismatch
	for _, parent := range parents {
		failed = append(failed, r.verifyDir(parent, byParent[parent])...)
	}
	return failed
}

func (r *restorer) verifyDir(parent string, jobs []*job) (failed []mismatch) {
	fd, err := openPath(unix.AT_FDCWD, parent, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		for _, j := range jobs {
			failed = append(failed, mismatch{j, fmt.Errorf("open its directory: %w", err)})
		}
		return failed
	}
	defer closeFD(fd)
	// What the caller asked for is to be there after a power cut, too.
	if err := unix.Fsync(fd); err != nil && !errors.Is(err, unix.EINVAL) {
		r.trace("sync the directory", parent, err)
	}
	listed, err := r.listing(fd, jobs)
	if err != nil {
		for _, j := range jobs {
			failed = append(failed, mismatch{j, fmt.Errorf("list its directory: %w", err)})
		}
		return failed
	}
	for _, j := range jobs {
		if err := r.check(fd, j, listed[j.name]); err != nil {
			failed = append(failed, mismatch{j, err})
			continue
		}
		j.verify, j.Status = false, StatusDone
	}
	return failed
}

// listing says which of the jobs' names a merged directory lists. While somebody
// holds it open, the kernel may keep an old list, until something changes in the
// directory through the overlay; so a name is made and removed there.
func (r *restorer) listing(fd int, jobs []*job) (map[string]bool, error) {
	listed := make(map[string]bool, len(jobs))
	for stirred := false; ; stirred = true {
		for _, j := range jobs {
			listed[j.name] = false
		}
		if err := findNames(fd, listed); err != nil {
			return nil, err
		}
		isStale := slices.ContainsFunc(jobs, func(j *job) bool { return listed[j.name] != j.shouldShow() })
		if !isStale || stirred {
			return listed, nil
		}
		if err := stir(fd); err != nil {
			r.trace("renew the list of the directory", jobs[0].parent, err)
			return listed, nil
		}
	}
}

// findNames sets those of the names that a directory lists.
func findNames(fd int, listed map[string]bool) error {
	return eachNames(fd, func(names []string) {
		for _, name := range names {
			if _, asked := listed[name]; asked {
				listed[name] = true
			}
		}
	})
}

func stir(dir int) error {
	name := tempName()
	fd, err := unix.Openat(dir, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	closeFD(fd)
	return unix.Unlinkat(dir, name, 0)
}

// shouldShow says whether the name is to exist in the merged view.
func (j *job) shouldShow() bool { return !j.orphan }

var (
	errNotListed  = errors.New("its directory does not list it")
	errStillThere = errors.New("it still shows")
	errOldEntry   = errors.New("what shows is not the lower's entry")
)

// check looks at one path of an open merged directory.
func (r *restorer) check(dir int, j *job, listed bool) error {
	got, err := lstatAt(dir, j.name)
	if listed == (err == nil) && listed != j.shouldShow() {
		r.reconsider(j, &got, listed)
	}
	if !j.shouldShow() {
		if err == nil || listed {
			return errStillThere
		}
		return nil
	}
	switch {
	case err != nil:
		return fmt.Errorf("look it up: %w", err)
	case !listed:
		return errNotListed
	case got.Nlink == 0: // its attributes are the lower's, its content is the old one's
		return errOldEntry
	}
	isDir := got.Mode&unix.S_IFMT == unix.S_IFDIR
	if isDir {
		// A directory that was removed while somebody held it open can come back
		// dead: it opens, and cannot be read.
		if err := r.checkDir(dir, j); err != nil {
			return err
		}
	}
	if j.Action == ActMerge {
		return nil // its attributes remain the upper's
	}
	return r.checkEntry(j, &got)
}

// reconsider is for a name that is there against expectation, or not: where a
// lower was known by its name only, the expectation may have been wrong.
func (r *restorer) reconsider(j *job, got *unix.Stat_t, shows bool) {
	low, found, err := r.lowerOf(j)
	if err == nil && found == shows && (!shows || equalAttributes(&low.stat, got)) {
		j.orphan = !found
	}
}

// checkEntry says whether what shows is the lower's entry. A current kernel
// knows best: an entry that shows and is not in the upper is the lower's, and
// neither layer has to be reached.
func (r *restorer) checkEntry(j *job, got *unix.Stat_t) error {
	if j.Method == MethodIoctl && r.askKernel() == contractCurrent {
		st, err := r.state(j)
		if err == nil && st.State != ioctl.StateNone {
			err = errOldEntry
		}
		return err
	}
	low, found, err := r.lowerOf(j)
	if err != nil {
		r.trace("compare with the lower's entry", j.Path, err)
		return nil
	}
	if !found || !equalAttributes(&low.stat, got) {
		return errOldEntry
	}
	return nil
}

// checkDir reads a merged directory, which for one that was opaque must list
// what its lower directories hold.
func (r *restorer) checkDir(dir int, j *job) error {
	fd, err := openPath(dir, j.name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return fmt.Errorf("open it: %w", err)
	}
	defer closeFD(fd)
	want := map[string]bool{}
	if j.Action == ActMerge {
		if err := r.layers().lowerNames(j.rel, want); err != nil {
			return fmt.Errorf("list it in the layers: %w", err)
		}
	}
	if err := findNames(fd, want); err != nil {
		return fmt.Errorf("list it: %w", err)
	}
	for _, listed := range want {
		if !listed {
			return errOldEntry
		}
	}
	return nil
}

// lowerNames adds names that a merged directory lists only as long as it shows
// the lower ones: some, for it is all of them or none.
func (l *Layers) lowerNames(rel string, into map[string]bool) error {
	const enough = 64
	o, err := l.openAt(rel)
	if err != nil {
		return err
	}
	defer o.close()
	for _, fd := range o.lower {
		var failed error
		err := eachNames(fd, func(names []string) {
			for _, name := range names {
				if len(into) >= enough || failed != nil {
					return
				}
				_, above, upErr := o.upperEntry(name)
				_, shows, lowErr := o.lowerEntry(name)
				if failed = errors.Join(upErr, lowErr); shows && !above {
					into[name] = false
				}
			}
		})
		if err != nil || failed != nil {
			return errors.Join(err, failed)
		}
	}
	return nil
}

// mergedNames are the names that a directory should list.
func (l *Layers) mergedNames(d Dir) ([]string, error) {
	o, err := l.open(d)
	if err != nil {
		return nil, err
	}
	defer o.close()
	seen := map[string]bool{} // true: listed; false: hidden by a whiteout
	for _, fd := range append([]int{o.upper}, o.lower...) {
		if fd < 0 {
			continue
		}
		names, err := readNames(fd)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if _, known := seen[name]; known {
				continue
			}
			e, err := l.readEntry(fd, name)
			if err != nil {
				return nil, err
			}
			seen[name] = !e.whiteout
		}
	}
	var listed []string
	for name, shows := range seen {
		if shows {
			listed = append(listed, name)
		}
	}
	return listed, nil
}

// blame settles the jobs that did not verify: somebody holds the old entry
// open, as a rule.
func (r *restorer) blame(failed []mismatch) {
	held := findHolders(failed)
	for _, m := range failed {
		j := m.job
		j.verify = false
		if holders := held[j]; len(holders) > 0 || isOldEntry(m.err) {
			j.Status, j.Holders = StatusBusy, holders
			j.Err = &BusyError{Holders: holders}
			continue
		}
		j.fail(fmt.Errorf("changed, but the merged view does not show it: %w", m.err))
	}
	for _, j := range r.jobs {
		if j.Status == StatusDone && j.orphan && j.Action == ActRestore {
			j.fail(&NoLowerError{WhiteoutGone: true})
		}
	}
}

// isOldEntry says that the kernel goes on with an inode that it should have let
// go. Where that was a removed directory, a lookup fails with ESTALE.
func isOldEntry(err error) bool {
	return errors.Is(err, errOldEntry) || errors.Is(err, errStillThere) || errors.Is(err, unix.ESTALE)
}
