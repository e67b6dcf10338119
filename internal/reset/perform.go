// SPDX-License-Identifier: Apache-2.0

package reset

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/journal"
)

// PerformOptions say what Perform does besides a request that stands.
type PerformOptions struct {
	// CommandLine says that the kernel command line asks for a reset.
	CommandLine bool
	// Order is what such a request is for. It is asked only where one counts.
	Order func() (*Order, error)
	// Note, if not nil, is told what goes on.
	Note func(string)
}

// Outcome is what Perform did.
type Outcome struct {
	Done    []*Order // the resets that were carried out
	Kept    int      // entries that were kept
	Resumed bool     // one of them had been interrupted
	Ignored []error  // what lay where a request would, and is none
	Again   bool     // the command line asks again for what was done: not repeated
}

// Perform carries out what was requested, before the overlays are mounted. It is
// called at every boot, and mostly finds nothing to do.
//
// An error says that a reset was due and not done: either nothing was changed and
// the request stands, or the reset has begun and the next Perform goes on.
func Perform(places []*Place, opts PerformOptions) (out Outcome, err error) {
	found, ignored, err := find(places)
	out.Ignored = ignored
	if err != nil {
		return out, fmt.Errorf("look for a request: %w", err)
	}
	noted := commandLineNoted(places)
	switch {
	case !opts.CommandLine && noted:
		if err := forgetCommandLine(places); err != nil {
			return out, err
		}
	case opts.CommandLine && len(found) == 0 && noted:
		out.Again = true
	case opts.CommandLine && len(found) == 0:
		if found, err = requestNow(places, opts); err != nil {
			return out, err
		}
	}
	for _, s := range found {
		if err := s.perform(&out, opts); err != nil {
			return out, err
		}
	}
	return out, nil
}

// requestNow makes the request that the command line stands for.
func requestNow(places []*Place, opts PerformOptions) ([]*standing, error) {
	order, err := opts.Order()
	if err == nil {
		err = Request(places, order)
	}
	if err != nil {
		return nil, fmt.Errorf("reset as the kernel command line asks: %w", err)
	}
	found, _, err := find(places)
	return found, err
}

func (s *standing) perform(out *Outcome, opts PerformOptions) error {
	if err := s.complete(); err != nil {
		return err
	}
	note := opts.Note
	if note == nil {
		note = func(string) {}
	}
	if s.decided {
		out.Resumed = true
		note("going on with the reset that was interrupted")
	} else if err := s.decide(out, opts); err != nil {
		return err
	}
	for _, p := range s.members {
		if err := p.swap(s.Order); err != nil {
			return fmt.Errorf("reset the overlay on %q, which goes on at the next boot: %w", p.Mount, err)
		}
	}
	if err := s.finish(); err != nil {
		return fmt.Errorf("note that the reset is done: %w", err)
	}
	out.Done = append(out.Done, s.Order)
	return nil
}

// decide stages all overlays, and decides. Until it returns nothing has changed.
func (s *standing) decide(out *Outcome, opts PerformOptions) error {
	for _, p := range s.members {
		kept, err := p.stage(s.Order)
		if errors.Is(err, unix.ENOSPC) && p.release() {
			kept, err = p.stage(s.Order)
		}
		if err != nil {
			return fmt.Errorf("prepare the reset of the overlay on %q, which is unchanged: %w", p.Mount, err)
		}
		out.Kept += kept
	}
	dir := int(s.at.dir.Fd())
	if opts.CommandLine {
		if err := writeFile(s.at.dir, fileCmdline, []byte(s.ID+"\n")); err != nil {
			return fmt.Errorf("note the command line's request: %w", err)
		}
	}
	// When it was done: the rename will not tell.
	now := unix.NsecToTimespec(time.Now().UnixNano())
	if err := setTimes(&unix.Stat_t{Atim: now, Mtim: now}, dir, fileRequest); err != nil {
		return err
	}
	if err := renameNew(dir, fileRequest, dir, fileDecided); err != nil {
		return fmt.Errorf("decide: %w", err)
	}
	return s.at.dir.Sync()
}

// swap puts the new directories in the place of the old ones. It can be repeated
// from wherever it was interrupted: a new directory that is still in its box has
// not taken its place yet. The upper is last, and with it the store goes.
func (p *Place) swap(order *Order) error {
	suffix := ""
	if order.Wipe {
		suffix = wipeSuffix
	}
	box, err := openDirAt(int(p.dir.Fd()), dirNew)
	if errors.Is(err, os.ErrNotExist) {
		return nil // finish has been here
	}
	if err != nil {
		return err
	}
	defer func() { _ = box.Close() }()
	if err := p.noteStore(box, order.ID); err != nil {
		return err
	}
	waiting, err := exists(int(box.Fd()), newWork)
	if err != nil {
		return err
	}
	if waiting {
		parent, name, err := p.openWork()
		if err != nil {
			return err
		}
		err = errors.Join(p.replace(box, newWork, parent, name, suffix), parent.Close())
		if err != nil {
			return err
		}
	}
	if waiting, err = exists(int(box.Fd()), newUpper); err != nil || !waiting {
		return err
	}
	if err := p.setAside(p.fd(), p.name+storeSuffix, suffix); err != nil {
		return err
	}
	return p.replace(box, newUpper, p.parent, p.name, suffix)
}

// noteStore says of a store that is elsewhere that it is gone.
func (p *Place) noteStore(box *os.File, id string) error {
	waiting, err := exists(int(box.Fd()), newNote)
	if err != nil || !waiting {
		return err
	}
	if err := renameNew(int(box.Fd()), newNote, int(p.dir.Fd()), journal.GonePrefix+id); err != nil {
		return err
	}
	return p.dir.Sync()
}

func (p *Place) replace(box *os.File, from string, parent *os.File, name, suffix string) error {
	if err := p.setAside(int(parent.Fd()), name, suffix); err != nil {
		return err
	}
	// File systems may not keep the order of two renames otherwise.
	if err := parent.Sync(); err != nil {
		return err
	}
	if err := renameNew(int(box.Fd()), from, int(parent.Fd()), name); err != nil {
		return err
	}
	return errors.Join(parent.Sync(), box.Sync())
}

// setAside moves what has a name, if anything has it, to old/.
func (p *Place) setAside(parent int, name, suffix string) error {
	found, err := exists(parent, name)
	if err != nil || !found {
		return err
	}
	old, err := openDirAt(int(p.dir.Fd()), dirOld)
	if err != nil {
		return err
	}
	defer func() { _ = old.Close() }()
	to, err := sequence(int(old.Fd()), suffix)
	if err != nil {
		return err
	}
	if err := renameNew(parent, name, int(old.Fd()), to); err != nil {
		return err
	}
	return old.Sync()
}

// finish notes that the reset is done.
func (s *standing) finish() error {
	dir := int(s.at.dir.Fd())
	if err := unix.Renameat(dir, fileDecided, dir, fileLast); err != nil {
		return &os.LinkError{Op: "rename", Old: fileDecided, New: fileLast, Err: err}
	}
	if err := s.at.dir.Sync(); err != nil {
		return err
	}
	leave(s.members, s.ID)
	for _, p := range s.members {
		_ = unix.Unlinkat(int(p.dir.Fd()), dirNew, unix.AT_REMOVEDIR) // empty, and no harm
		p.release()
	}
	return nil
}

// commandLineNoted says whether the last reset was done for the command line,
// which has carried it at every boot since.
func commandLineNoted(places []*Place) bool {
	for _, p := range places {
		if p.dir == nil {
			continue
		}
		if found, err := exists(int(p.dir.Fd()), fileCmdline); found || err != nil {
			return true // where that cannot be told, nothing is reset
		}
	}
	return false
}

func forgetCommandLine(places []*Place) error {
	for _, p := range places {
		if p.dir == nil {
			continue
		}
		if err := unlinkAt(int(p.dir.Fd()), fileCmdline, 0); err != nil {
			return fmt.Errorf("note that the kernel command line asks no more: %w", err)
		}
	}
	return nil
}
