// SPDX-License-Identifier: Apache-2.0

package reset

import (
	"context"
	"errors"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// Amount is how much there is of something.
type Amount struct {
	Entries int64
	Bytes   int64 // that it takes on disk
}

func (a *Amount) add(st *unix.Stat_t) {
	a.Entries++
	a.Bytes += st.Blocks * 512
}

// Survey is what a reset of one overlay would do.
type Survey struct {
	Keeps   Amount // what is on the keep list
	Goes    Amount // the rest of the upper
	Backups Amount // the store, which goes, too
}

// Survey counts what a reset by this order would keep, and what would go.
// It changes nothing.
func (p *Place) Survey(ctx context.Context, order *Order) (s Survey, err error) {
	upper, err := openDirAt(p.fd(), p.name)
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	defer func() { _ = upper.Close() }()
	k := keeper{upper: int(upper.Fd()), take: func(e kept) error { s.Keeps.add(&e.stat); return nil }}
	if err := k.run(newMatcher(order.Keep, p.Mount)); err != nil {
		return s, err
	}
	if s.Goes, err = measure(ctx, p.fd(), p.name); err != nil {
		return s, err
	}
	s.Goes.Entries -= s.Keeps.Entries
	s.Goes.Bytes -= s.Keeps.Bytes
	if s.Backups, err = measure(ctx, p.fd(), p.name+storeSuffix); err != nil || order.Stores == "" {
		return s, err
	}
	elsewhere, err := measureAt(ctx, order.Stores, p.Store)
	s.Backups.Entries += elsewhere.Entries
	s.Backups.Bytes += elsewhere.Bytes
	return s, err
}

// Kept returns what says of an entry of the upper whether it is on the keep list,
// or something in it is; and how many entries there are on it.
func (p *Place) Kept(keep []string) (is func(rel string) bool, entries int, err error) {
	upper, err := openDirAt(p.fd(), p.name)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = upper.Close() }()
	m, has := newMatcher(keep, p.Mount), map[string]bool{}
	k := keeper{
		upper: int(upper.Fd()),
		take: func(e kept) error {
			entries++
			for rel := e.rel; rel != "." && !has[rel]; rel = path.Dir(rel) {
				has[rel] = true
			}
			return nil
		},
	}
	// What is made from now on, and is on the list, is kept, too.
	return func(rel string) bool { return has[rel] || m.matches(rel) }, entries, k.run(m)
}

// measure counts what is below a directory, without the directory itself. What
// is removed meanwhile does not count.
func measure(ctx context.Context, parent int, name string) (a Amount, err error) {
	top, err := openFD(parent, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return a, nil
	}
	if err != nil {
		return a, err
	}
	defer closeFD(top)
	todo := []string{"."}
	for len(todo) > 0 {
		if ctx.Err() != nil {
			return a, context.Cause(ctx)
		}
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		fd, err := openBeneath(top, at)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return a, err
		}
		below, err := a.addDir(fd)
		closeFD(fd)
		if err != nil {
			return a, err
		}
		for _, name := range below {
			todo = append(todo, path.Join(at, name))
		}
	}
	return a, nil
}

func (a *Amount) addDir(fd int) (below []string, err error) {
	for list := (dirents{fd: fd}); ; {
		name, _, more, err := list.next()
		if err != nil || !more {
			return below, err
		}
		st, err := statAt(fd, name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return below, err
		}
		a.add(&st)
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			below = append(below, name)
		}
	}
}
