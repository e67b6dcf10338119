// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

// Place says where stores are: beside each upper, or all in one directory, which
// may be on another file system. Then what is kept is copied.
type Place struct {
	Dir string // "" for beside each upper
}

// Open opens, makes and locks the store of an upper; see Open.
func (p Place) Open(upper *overlay.Layer) (*Store, error) {
	if p.Dir == "" {
		return Open(upper.Root(), upper.Where)
	}
	s, parent, name, err := p.find(upper)
	if err != nil {
		return nil, err
	}
	defer func() { _ = parent.Close() }()
	if err := p.retire(upper, parent, name); err != nil {
		return nil, err
	}
	return s.open(parent, name, upper.Root())
}

// View opens the store of an upper for reading; see View.
func (p Place) View(upper *overlay.Layer) (*Store, error) {
	if p.Dir == "" {
		return View(upper.Root(), upper.Where)
	}
	s, parent, name, err := p.find(upper)
	if err != nil {
		return nil, err
	}
	defer func() { _ = parent.Close() }()
	box, _, err := p.gone(upper)
	if box != nil {
		err = errors.Join(&os.PathError{Op: "open", Path: s.path, Err: os.ErrNotExist}, box.Close())
	}
	if err != nil {
		return nil, err
	}
	return s.view(parent, name, upper.Root())
}

// find names an upper's store in the directory, by the upper's path.
func (p Place) find(upper *overlay.Layer) (s *Store, parent *os.File, name string, err error) {
	parent, err = os.Open(p.Dir)
	if err != nil {
		return nil, nil, "", fmt.Errorf("open the directory of the stores: %w", err)
	}
	if err := checkOwner(parent); err != nil {
		return nil, nil, "", errors.Join(fmt.Errorf("open the directory of the stores: %w", err), parent.Close())
	}
	name = StoreName(upper.Path)
	return &Store{path: filepath.Join(p.Dir, name)}, parent, name, nil
}

// StoreName is what the store of an upper is called in the directory that they are
// all in. It is different for each path, and a path can be read from it.
func StoreName(path string) string {
	path = strings.Trim(filepath.Clean("/"+path), "/")
	return strings.NewReplacer(`\`, `\\`, "-", `\-`, "/", "-").Replace(path) + Suffix
}

// isElsewhere says whether the store is on another mount than the upper, so that
// nothing can be linked or renamed into it. The kernel says so before it looks for
// the names.
func (s *Store) isElsewhere() bool {
	const none = ".ovl-restore-none"
	return errors.Is(unix.Renameat(int(s.upper.Fd()), none, int(s.dir.Fd()), none), unix.EXDEV)
}

// asidePrefix begins the names of what was copied and is on its way out.
const asidePrefix = ".ovl-restore-tmp.tx-"

// asideName is the name for entry n of a transaction there. Uppers may share the
// directory, so it has the upper's inode.
func (s *Store) asideName(id string, n int) (string, error) {
	var st unix.Stat_t
	err := unix.Fstat(int(s.upper.Fd()), &st)
	return s.asideStart(st.Ino) + id + "-" + strconv.Itoa(n), err
}

func (*Store) asideStart(ino uint64) string { return asidePrefix + strconv.FormatUint(ino, 36) + "-" }

// asideDir is where entries wait until their transaction is done: the directory
// that the upper is in, which no overlay shows; or, where its mount does not show
// that, the upper itself.
func (s *Store) asideDir() (*os.File, error) {
	parent, err := openAt(s.upper, "..", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err == nil {
		const none = ".ovl-restore-none"
		var a, b unix.Stat_t
		err = errors.Join(unix.Fstat(int(s.upper.Fd()), &a), unix.Fstat(int(parent.Fd()), &b))
		if err == nil && (a.Dev != b.Dev || a.Ino != b.Ino) &&
			!errors.Is(unix.Renameat(int(s.upper.Fd()), none, int(parent.Fd()), none), unix.EXDEV) {
			return parent, nil
		}
		_ = parent.Close()
	}
	return openAt(s.upper, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
}

// copyAway keeps a copy of an entry, and with drop takes the entry itself away.
func (tx *Tx) copyAway(r record, dir *os.File, name string, drop bool) (where string, err error) {
	tx.kept++
	n := strconv.Itoa(tx.kept)
	r.Op, r.N = OpCopy, tx.kept
	where = filepath.Join(tx.store.path, "tx", tx.ID, "backup", n)
	err = tx.write(r)
	if err == nil {
		err = copyVerified(dir, name, tx.backup, n+".part")
	}
	if err == nil {
		err = unix.Renameat(int(tx.backup.Fd()), n+".part", int(tx.backup.Fd()), n)
	}
	if err == nil {
		err = tx.backup.Sync()
	}
	if err != nil {
		return "", fmt.Errorf("keep a copy as %q: %w", where, err)
	}
	if !drop {
		return where, nil
	}
	aside, err := tx.store.asideDir()
	if err != nil {
		return "", err
	}
	defer func() { _ = aside.Close() }()
	temp, err := tx.store.asideName(tx.ID, tx.kept)
	if err == nil {
		err = overlay.RenameNew(dir, name, aside, temp)
	}
	if err != nil {
		return "", fmt.Errorf("take away what was copied to %q: %w", where, err)
	}
	tx.aside = true
	return where, errors.Join(aside.Sync(), dir.Sync())
}

// removeAside removes what transactions that are done had copied and taken away.
func (s *Store) removeAside() error {
	aside, err := s.asideDir()
	if err != nil {
		return err
	}
	defer func() { _ = aside.Close() }()
	var st unix.Stat_t
	if err := unix.Fstat(int(s.upper.Fd()), &st); err != nil {
		return err
	}
	names, err := rereadNames(aside)
	if err != nil {
		return err
	}
	for _, name := range names {
		rest, ours := strings.CutPrefix(name, s.asideStart(st.Ino))
		cut := strings.LastIndexByte(rest, '-')
		if !ours || cut < 0 {
			continue
		}
		dir, err := s.openTx(rest[:cut])
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		_ = dir.Close() // it is only there
		open, err := s.isOpen(rest[:cut])
		if err == nil && !open {
			err = removeTree(aside, name)
		}
		if err != nil {
			return fmt.Errorf("remove what was copied and dropped: %w", err)
		}
	}
	return nil
}

// copyBack is the inverse of a copy.
func (v *inverter) copyBack(p *place) (Action, error) {
	n := strconv.Itoa(p.N)
	_, kept := v.of.kept(p.N)
	aside, err := v.store.asideDir()
	if err != nil {
		return ActNone, err
	}
	defer func() { _ = aside.Close() }()
	temp, err := v.store.asideName(v.of.id, p.N)
	if err != nil {
		return ActNone, err
	}
	_, waits := lstatAt(aside, temp)
	switch {
	case !kept && waits != nil, p.found && waits != nil && v.rollsBack():
		return ActNone, nil // it was never dropped
	case p.found:
		if sameTrees(p.dir, p.name, v.of.backup, n) == nil {
			return ActNone, nil
		}
		return ActPutBack, p.changed()
	case v.dry:
		v.has[p.rel] = true
		return ActPutBack, nil
	case v.rollsBack() && waits == nil:
		err := overlay.RenameNew(aside, temp, p.dir, p.name)
		if err == nil {
			err = p.dir.Sync()
		}
		return ActPutBack, err
	}
	return ActPutBack, v.copyFromBackup(p, aside, n)
}

func (v *inverter) copyFromBackup(p *place, aside *os.File, n string) error {
	id := v.of.id
	if v.tx != nil {
		id = v.tx.ID
	}
	temp, err := v.store.asideName(id, p.i)
	if err != nil {
		return err
	}
	temp += ".back"
	if err := copyVerified(v.of.backup, n, aside, temp); err != nil {
		return fmt.Errorf("copy the backup back: %w", err)
	}
	err = v.log(record{Op: OpPut, What: "copy", N: p.N, Tx: v.of.id, I: p.i}.withPath(p.rel))
	if err == nil {
		err = overlay.RenameNew(aside, temp, p.dir, p.name)
	}
	if errors.Is(err, unix.EEXIST) {
		err = &ChangedError{What: "it was made in this moment"}
	}
	if err != nil {
		return errors.Join(err, removeTree(aside, temp))
	}
	return p.dir.Sync()
}

// takeCopyBack rolls back an entry that was copied back, if it is still what the
// backup is.
func (v *inverter) takeCopyBack(p *place, from *logged) (Action, error) {
	err := sameTrees(p.dir, p.name, from.backup, strconv.Itoa(p.N))
	if errors.Is(err, unix.ESTALE) {
		return ActTakeAway, p.changed()
	}
	if err != nil {
		return ActTakeAway, err
	}
	aside, err := v.store.asideDir()
	if err != nil {
		return ActTakeAway, err
	}
	defer func() { _ = aside.Close() }()
	temp, err := v.store.asideName(v.of.id, p.i)
	if err != nil {
		return ActTakeAway, err
	}
	temp += ".back"
	if err := removeTree(aside, temp); err != nil {
		return ActTakeAway, err
	}
	err = overlay.RenameNew(p.dir, p.name, aside, temp)
	if err == nil {
		err = errors.Join(p.dir.Sync(), removeTree(aside, temp))
	}
	return ActTakeAway, err
}
