// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/overlay"
	"github.com/ovl-restore/ovl-restore/test/namespace"
)

// stage is an overlay whose user has changed things.
type stage struct {
	t testing.TB
	*namespace.Overlay
}

func newStage(t testing.TB) *stage {
	t.Helper()
	return &stage{t, namespace.NewOverlayIn(t, namespace.Disk(t))}
}

func (s *stage) must(errs ...error) {
	s.t.Helper()
	if err := errors.Join(errs...); err != nil {
		s.t.Fatal(err)
	}
}

// write makes a file, with the directories above it.
func (s *stage) write(path, content string) {
	s.t.Helper()
	s.must(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644))
}

func (s *stage) merged(rel string) string  { return filepath.Join(s.Merged, rel) }
func (s *stage) inUpper(rel string) string { return filepath.Join(s.Upper, rel) }

// worked mounts an overlay and has its user change all kinds of things:
//
//	edited       a file of the image, edited
//	sub/new\n    a file of their own, with a name of two lines
//	deleted      a whiteout
//	again/       deleted and made again: opaque, with a file and a whiteout's place
//	tree/        a directory of their own, full
//	kept         a file of the image, untouched
func worked(t testing.TB) *stage {
	t.Helper()
	s := newStage(t)
	for _, rel := range []string{"edited", "sub/image", "deleted", "again/old", "again/deep/old", "kept", "mode"} {
		s.write(filepath.Join(s.Lower, rel), "image:"+rel)
	}
	s.Mount(t)
	s.write(s.merged("edited"), "user:edited")
	s.must(unix.Setxattr(s.merged("edited"), "user.test", []byte("kept"), 0), os.Chmod(s.merged("edited"), 0o640))
	s.write(s.merged("sub/new\n"), "user:sub/new")
	s.must(os.Remove(s.merged("deleted")), os.RemoveAll(s.merged("again")))
	s.write(s.merged("again/own"), "user:again/own")
	s.write(s.merged("tree/a/b/c"), "user:tree/a/b/c")
	s.must(os.Symlink("/nowhere", s.merged("tree/link")))
	s.must(os.Chmod(s.merged("mode"), 0o600))
	return s
}

// everything is what worked changed, as paths for Restore.
func everything(merged string) []string { return []string{merged} }

// storesVar names a directory for the stores, for the tests and the processes that
// they run.
const storesVar = "JOURNAL_TEST_STORES"

func storesPlace() Place { return Place{Dir: os.Getenv(storesVar)} }

// storePath is where the stage's store is.
func (s *stage) storePath() string {
	if dir := storesPlace().Dir; dir != "" {
		return filepath.Join(dir, StoreName(s.Upper))
	}
	return s.Upper + Suffix
}

// drop drops everything, as restore --recursive --discard does, in one
// transaction.
func drop(merged string) (id string, err error) {
	o, err := overlay.Open(merged, overlay.Options{})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	var store *Store
	var tx *Tx
	results := o.Restore(context.Background(), everything(merged), overlay.RestoreOptions{
		Recursive: true, Discard: true, KeepWhiteouts: true,
		Keeper: func(upper *overlay.Layer) (overlay.Keeper, error) {
			if store, err = storesPlace().Open(upper); err != nil {
				return nil, err
			}
			tx, err = store.Begin(Intent{Kind: KindRestore, Overlay: merged})
			return tx, err
		},
	})
	var errs []error
	for _, r := range results {
		if r.Err != nil {
			errs = append(errs, fmt.Errorf("%q: %w", r.Path, r.Err))
		}
	}
	if tx == nil {
		return "", errors.Join(append(errs, errors.New("nothing was kept"))...)
	}
	return tx.ID, errors.Join(append(errs, tx.Done(), store.Close())...)
}

// withSite opens an overlay's store and site.
func withSite(merged string, do func(*Store, *overlay.Site) error) (err error) {
	o, err := overlay.Open(merged, overlay.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	site, err := o.Site()
	if err != nil {
		return err
	}
	s, err := storesPlace().Open(site.Upper())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return do(s, site)
}

// undo undoes a transaction and fails where a path does.
func undo(merged, id string, paths ...string) error {
	return withSite(merged, func(s *Store, site *overlay.Site) error {
		done, err := s.Undo(context.Background(), site, id, UndoOptions{Paths: paths})
		errs := []error{err}
		for _, r := range done.Results {
			if r.Err != nil {
				errs = append(errs, fmt.Errorf("%q: %w", r.Path, r.Err))
			}
		}
		return errors.Join(errs...)
	})
}

// picture is all there is to see of a tree: paths, types, modes, owners, times,
// contents and attributes.
func picture(t testing.TB, top string) map[string]string {
	t.Helper()
	dir, err := os.Open(top)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dir.Close() }()
	all := map[string]string{}
	if err := walkTree(dir, ".", func(n *node) error {
		a, err := readAttributes(n.dir, n.name)
		if err != nil {
			return err
		}
		a.Atime = 0
		if n.isDir() {
			a.Mtime = 0                                                        // probes and temporary names come and go
			for _, key := range []string{"overlay.impure", "overlay.origin"} { // the kernel's own, on the way
				delete(a.Xattrs, "trusted."+key)
				delete(a.Xattrs, "user."+key)
			}
		}
		if a.Mode == unix.S_IFCHR {
			all[n.rel] = "whiteout" // any is as good as another
			return nil
		}
		nlink := n.stat.Nlink
		if n.isDir() {
			nlink = 0
		}
		content := ""
		switch n.stat.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			data, err := os.ReadFile(procPath(n.dir, n.name))
			if err != nil {
				return err
			}
			content = string(data)
		case unix.S_IFLNK:
			if content, err = os.Readlink(procPath(n.dir, n.name)); err != nil {
				return err
			}
		}
		all[n.rel] = fmt.Sprintf("%+v links %d rdev %d %q", *a, nlink, n.stat.Rdev, content)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// lost looks in the upper and the store for contents of the user's that are
// nowhere any more.
func lost(t testing.TB, s *stage) []string {
	t.Helper()
	var missing []string
	whole := fmt.Sprint(picture(t, s.Upper), picture(t, s.storePath()))
	for _, content := range []string{"user:edited", "user:sub/new", "user:again/own", "user:tree/a/b/c"} {
		if !strings.Contains(whole, content) {
			missing = append(missing, content)
		}
	}
	return missing
}

func containsQuoted(err error, name string) bool {
	return strings.Contains(err.Error(), fmt.Sprintf("%q: ", name))
}
