// SPDX-License-Identifier: Apache-2.0

package reset

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/journal"
)

// StoreError says that a store that goes with a reset is where this program cannot
// reach it.
type StoreError struct {
	Note string // the file that says so
	Err  error
}

func (e *StoreError) Error() string {
	return fmt.Sprintf("the store of before the reset, which %q names, was not removed: %v", e.Note, e.Err)
}

// Unwrap returns the cause.
func (e *StoreError) Unwrap() error { return e.Err }

// goneStores lists the notes about stores elsewhere that are to be removed.
func (p *Place) goneStores() (notes []string, err error) {
	names, err := p.names()
	for _, name := range names {
		if strings.HasPrefix(name, journal.GonePrefix) || strings.HasPrefix(name, journal.AsidePrefix) {
			notes = append(notes, name)
		}
	}
	return notes, err
}

// stores removes the stores that the notes are about.
func (c *cleaner) stores(ctx context.Context) error {
	notes, err := c.place.goneStores()
	if err != nil {
		return err
	}
	for _, note := range notes {
		if err := c.goneStore(ctx, note); err != nil {
			return &StoreError{Note: c.place.path(note), Err: err}
		}
	}
	return nil
}

func (c *cleaner) goneStore(ctx context.Context, note string) error {
	p := c.place
	g, err := journal.ReadGone(p.dir, note)
	if err != nil {
		return err
	}
	dir, err := openAt(unix.AT_FDCWD, g.Dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	if strings.HasPrefix(note, journal.GonePrefix) {
		if note, err = p.setStoreAside(note, dir); err != nil {
			return err
		}
	}
	if err := c.empty(ctx, dir, p.Store+journal.OldSuffix, g.Wipe); err != nil {
		return fmt.Errorf("remove %q: %w", filepath.Join(g.Dir, p.Store+journal.OldSuffix), err)
	}
	if err := dir.Sync(); err != nil {
		return err
	}
	if err := c.discard(dir); err != nil {
		return err
	}
	return errors.Join(unlinkAt(int(p.dir.Fd()), note, 0), p.dir.Sync())
}

// setStoreAside does so unless the store's next user was quicker.
func (p *Place) setStoreAside(note string, dir *os.File) (aside string, err error) {
	unlock, err := lockAll([]*Place{p})
	if err != nil {
		return "", err
	}
	defer unlock()
	aside = journal.AsidePrefix + strings.TrimPrefix(note, journal.GonePrefix)
	return aside, journal.SetAside(p.dir, note, dir, p.Store)
}

// storesLeft counts what there is to remove of stores that can be reached.
func (p *Place) storesLeft(ctx context.Context) (left Amount, due bool, err error) {
	notes, err := p.goneStores()
	for _, note := range notes {
		g, err := journal.ReadGone(p.dir, note)
		if err != nil {
			continue // the clean-up says so
		}
		names := []string{p.Store + journal.OldSuffix}
		if strings.HasPrefix(note, journal.GonePrefix) {
			names = append(names, p.Store)
		}
		for _, name := range names {
			a, err := measureAt(ctx, g.Dir, name)
			if err != nil {
				return left, true, &StoreError{Note: p.path(note), Err: err}
			}
			left.Entries += a.Entries
			left.Bytes += a.Bytes
		}
	}
	return left, len(notes) > 0, err
}

// measureAt counts what is below a directory in another one, if both are there.
func measureAt(ctx context.Context, dir, name string) (Amount, error) {
	fd, err := openFD(unix.AT_FDCWD, dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return Amount{}, nil
	}
	if err != nil {
		return Amount{}, err
	}
	defer closeFD(fd)
	return measure(ctx, fd, name)
}
