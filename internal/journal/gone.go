// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

// A factory reset renames a store beside the upper aside, with the upper. One that
// is elsewhere it may not even see, so early in the boot. So it leaves a note beside
// the upper, and whoever opens the store next sets it aside first:
//
//	UPPER.ovl-reset/store-ID      the note; ID is the reset's
//	UPPER.ovl-reset/oldstore-ID   the note, renamed: the store is aside
//	DIR/NAME.ovl-restore.old/N    what was the store, until clean-up has removed it
const (
	resetSuffix = ".ovl-reset"
	// GonePrefix begins the name of a note.
	GonePrefix = "store-"
	// AsidePrefix begins it when the store was set aside.
	AsidePrefix = "oldstore-"
	// OldSuffix ends the name of the directory that such stores are in.
	OldSuffix = ".old"
)

// Gone is such a note.
type Gone struct {
	Dir  string // the directory of stores
	Wipe bool   // overwrite what is removed
}

// Encode returns what the note's file holds.
func (g Gone) Encode() []byte {
	text := strconv.Quote(g.Dir) + "\n"
	if g.Wipe {
		text += "wipe\n"
	}
	return []byte(text)
}

// errNoNote: it is cut short, or somebody else's.
var errNoNote = errors.New("it does not say where a store is")

// ReadGone reads the note with this name in UPPER.ovl-reset.
func ReadGone(box *os.File, name string) (g Gone, err error) {
	f, err := openAt(box, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return g, err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, 4*unix.PathMax))
	if err != nil {
		return g, err
	}
	line, rest, _ := strings.Cut(string(text), "\n")
	if g.Dir, err = strconv.Unquote(line); err != nil || !filepath.IsAbs(g.Dir) {
		return g, errNoNote
	}
	g.Wipe = rest == "wipe\n"
	return g, nil
}

// SetAside sets the store NAME in a directory of stores aside, if it is there, and
// then notes that, unless that was done already. The caller has the lock of
// UPPER.ovl-reset.
func SetAside(box *os.File, note string, stores *os.File, name string) error {
	if _, err := lstatAt(box, note); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil // what has the store's name now is a new one
		}
		return err
	}
	if _, err := lstatAt(stores, name); err == nil {
		old, err := makeDir(stores, name+OldSuffix)
		if err != nil {
			return err
		}
		defer func() { _ = old.Close() }()
		for n := 1; ; n++ {
			err = overlay.RenameNew(stores, name, old, strconv.Itoa(n))
			if !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.ENOTEMPTY) {
				break
			}
		}
		if err == nil {
			err = errors.Join(old.Sync(), stores.Sync())
		}
		if err != nil {
			return err
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	to := AsidePrefix + strings.TrimPrefix(note, GonePrefix)
	if err := unix.Renameat(int(box.Fd()), note, int(box.Fd()), to); err != nil {
		return &os.LinkError{Op: "rename", Old: note, New: to, Err: err}
	}
	return box.Sync()
}

// gone returns UPPER.ovl-reset, locked, and the notes in it that are about the
// stores of this place. Where there are none it returns nil.
func (p Place) gone(upper *overlay.Layer) (box *os.File, notes []string, err error) {
	parent, name, err := locate(upper.Root(), upper.Where)
	if err != nil {
		return nil, nil, nil // where nothing can be beside the upper, no note is
	}
	defer func() { _ = parent.Close() }()
	box, err = openAt(parent, name+resetSuffix, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil || checkOwner(box) != nil { // none, or somebody else's
		return nil, nil, closeAll(box)
	}
	if err := flock(box); err != nil {
		return nil, nil, errors.Join(err, box.Close())
	}
	names, err := rereadNames(box)
	if err != nil {
		return nil, nil, errors.Join(err, box.Close())
	}
	for _, name := range names {
		if !strings.HasPrefix(name, GonePrefix) {
			continue
		}
		// One that cannot be read is reported by the clean-up.
		if g, err := ReadGone(box, name); err == nil && filepath.Clean(g.Dir) == filepath.Clean(p.Dir) {
			notes = append(notes, name)
		}
	}
	if len(notes) == 0 {
		return nil, nil, box.Close()
	}
	return box, notes, nil
}

// flock waits for whoever changes a request at the moment, or sets a store aside.
func flock(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("flock", err)
		}
	}
}

// retire sets the store aside where a reset says that it is gone.
func (p Place) retire(upper *overlay.Layer, stores *os.File, name string) error {
	box, notes, err := p.gone(upper)
	if box == nil {
		return err
	}
	defer func() { _ = box.Close() }()
	for _, note := range notes {
		if err := SetAside(box, note, stores, name); err != nil {
			return fmt.Errorf("set aside the store %q, which is of the time before a factory reset: %w", filepath.Join(p.Dir, name), err)
		}
	}
	return nil
}
