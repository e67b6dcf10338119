// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/config"
	"github.com/ovl-restore/ovl-restore/internal/journal"
	"github.com/ovl-restore/ovl-restore/internal/overlay"
	"github.com/ovl-restore/ovl-restore/test/faultpoint"
	"github.com/ovl-restore/ovl-restore/test/namespace"
)

func TestMain(m *testing.M) {
	unix.Umask(0o022)
	faultpoint.Main(scenarios)
	namespace.Main(m)
}

// tree is what a directory holds. A name that ends in a slash is a directory; the
// value of another is a file's content, or "-> TARGET". " mode=0600" and
// " x=VALUE" (attribute user.x) may follow either.
type tree map[string]string

// write makes the tree below a directory.
func (tr tree) write(t *testing.T, root string) {
	t.Helper()
	for name, what := range tr {
		path := filepath.Join(root, name)
		what, attr, _ := strings.Cut(what, " x=")
		what, mode, hasMode := strings.Cut(what, " mode=")
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		target, isLink := strings.CutPrefix(what, "-> ")
		switch {
		case strings.HasSuffix(name, "/"):
			must(t, os.MkdirAll(path, 0o755))
		case isLink:
			must(t, os.Symlink(target, path))
		default:
			must(t, os.WriteFile(path, []byte(what), 0o644))
		}
		if hasMode {
			var bits uint32
			_, err := fmt.Sscanf(mode, "%o", &bits)
			must(t, err)
			must(t, unix.Chmod(path, bits))
		}
		if attr != "" {
			must(t, unix.Setxattr(path, "user.x", []byte(attr), 0))
		}
	}
}

// readTree is what a directory holds, directories too where asked for.
func readTree(t *testing.T, root string) tree {
	t.Helper()
	all := tree{}
	must(t, filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		rel := strings.TrimPrefix(path, root+"/")
		what, usual := "", uint32(0o644)
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return fmt.Errorf("%q is listed, and not there: %w", rel, err)
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			rel, usual = rel+"/", 0o755
		case unix.S_IFLNK:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			what, usual = "-> "+target, 0o777
		case unix.S_IFREG:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			what = string(data)
		default:
			what = fmt.Sprintf("type %o", st.Mode&unix.S_IFMT)
		}
		if mode := st.Mode & 0o7777; mode != usual {
			what += fmt.Sprintf(" mode=0%o", mode)
		}
		buf := make([]byte, 100)
		if n, err := unix.Lgetxattr(path, "user.x", buf); err == nil {
			what += " x=" + string(buf[:n])
		}
		all[rel] = what
		return nil
	}))
	return all
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// stage is a device: its images, one upper, and the overlay of them.
type stage struct {
	t *testing.T
	*namespace.Overlay
	images  map[string]string // directories, by version
	options []string          // of the mount
	booted  string
	method  overlay.Method
	mounted bool // the images are file systems of their own
}

func newStage(t *testing.T, options ...string) *stage {
	t.Helper()
	return &stage{t: t, Overlay: namespace.NewOverlayIn(t, namespace.Disk(t)), images: map[string]string{}, options: options}
}

// image makes an image, with an os-release that says its version.
func (s *stage) image(version string, tr tree) {
	s.t.Helper()
	dir := filepath.Join(filepath.Dir(s.Merged), "image-"+version)
	must(s.t, os.Mkdir(dir, 0o755))
	tr.write(s.t, dir)
	tree{"usr/lib/os-release": "IMAGE_VERSION=" + version}.write(s.t, dir)
	s.images[version] = dir
}

// boot mounts the overlay with an image. It is moved into the one directory that
// is the lower: with an index, the kernel mounts no other, as it knows the root of
// every squashfs by one inode.
func (s *stage) boot(version string) {
	s.t.Helper()
	s.booted = version
	if s.mounted {
		s.Lower = s.images[version]
	} else {
		moveAll(s.t, s.images[version], s.Lower)
	}
	s.Mount(s.t, s.options...)
}

// update is the reboot into another image.
func (s *stage) update(version string) {
	s.t.Helper()
	s.shutDown()
	s.boot(version)
}

func (s *stage) shutDown() {
	s.t.Helper()
	s.Unmount(s.t)
	if !s.mounted {
		moveAll(s.t, s.Lower, s.images[s.booted])
	}
}

func moveAll(t *testing.T, from, to string) {
	t.Helper()
	entries, err := os.ReadDir(from)
	must(t, err)
	for _, e := range entries {
		must(t, os.Rename(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())))
	}
}

func (s *stage) target() (*Target, func()) {
	s.t.Helper()
	o, err := overlay.Open(s.Merged, overlay.Options{})
	must(s.t, err)
	return &Target{Overlay: o, Mount: "/"}, func() { must(s.t, o.Close()) }
}

func openStore(upper *overlay.Layer) (*journal.Store, error) {
	return journal.Open(upper.Root(), upper.Where)
}

func (s *stage) runOptions() RunOptions {
	s.t.Helper()
	policy, err := LoadPolicy(config.Dirs{})
	must(s.t, err)
	return RunOptions{Policy: policy, Method: s.method, Open: openStore}
}

// run reconciles, and wants that nothing fails.
func (s *stage) run(change func(*RunOptions)) *Report {
	s.t.Helper()
	opts := s.runOptions()
	if change != nil {
		change(&opts)
	}
	t, release := s.target()
	defer release()
	report, err := Run(context.Background(), t, opts)
	must(s.t, err)
	for _, r := range report.Results {
		if r.Status == overlay.StatusFailed {
			s.t.Errorf("%s (%v): %v", r.Rel, r.Decision, r.Err)
		}
	}
	return report
}

func (s *stage) record() {
	s.t.Helper()
	t, release := s.target()
	defer release()
	_, err := Record(context.Background(), t, openStore)
	must(s.t, err)
}

// seen is what a user sees, but for what the image says of itself.
func (s *stage) seen() tree {
	s.t.Helper()
	got := readTree(s.t, s.Merged)
	for _, own := range []string{"usr/lib/os-release", ManifestPath, filepath.Dir(ManifestPath) + "/"} {
		delete(got, own)
	}
	return got
}

// want checks what a user sees.
func (s *stage) want(what string, want tree) {
	s.t.Helper()
	if diff := cmp.Diff(want, s.seen()); diff != "" {
		s.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// in is a path that the user works on.
func (s *stage) in(rel string) string { return filepath.Join(s.Merged, rel) }
