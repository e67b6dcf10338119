// SPDX-License-Identifier: Apache-2.0

package pkglist

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/test/namespace"
)

func TestMain(m *testing.M) { namespace.Main(m) }

// infoDir mounts an overlay whose lower has these lists, and returns their
// directory in the merged view.
func infoDir(t *testing.T, lists map[string]string) string {
	t.Helper()
	o := namespace.NewOverlayIn(t, namespace.Disk(t))
	dir := "var/lib/dpkg/info"
	if err := os.MkdirAll(filepath.Join(o.Lower, dir), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, data := range lists {
		if err := os.WriteFile(filepath.Join(o.Lower, dir, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(o.Lower, "visible"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	o.Mount(t)
	return filepath.Join(o.Merged, dir)
}

func wantFiles(t *testing.T, dir, name string, want ...string) {
	t.Helper()
	got, err := filesIn([]string{dir, "/nowhere/info"}, name, nil)
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
	for _, path := range want {
		if !slices.Contains(got, path) {
			t.Errorf("%s: %q is missing in %q", name, path, got)
		}
	}
	if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
		t.Errorf("%s: not in order, or not each once: %q", name, got)
	}
	for _, path := range got {
		if !filepath.IsAbs(path) || path == "/" || path == "/." {
			t.Errorf("%s: %q", name, path)
		}
	}
}

func TestListsOfBothManagers(t *testing.T) {
	dir := infoDir(t, map[string]string{
		"dpkg.list":        "/.\n/usr\n/usr/bin\n/usr/bin/tool\n",
		"opkg.list":        "/usr/bin/opkg-tool\t0100755\n/etc/link\t0120777\t../x\nrelative\n",
		"multi:amd64.list": "/usr/lib/a.so\n",
		"multi:i386.list":  "/usr/lib/b.so\n",
		"multi-other.list": "/not/this\n",
		"[x]*.list":        "/glob\n",
		"new line.list":    "/odd\n",
		"empty.list":       "",
		"no-newline.list":  "/last",
	})
	wantFiles(t, dir, "dpkg", "/usr/bin/tool", "/usr/bin", "/usr")
	wantFiles(t, dir, "opkg", "/usr/bin/opkg-tool", "/etc/link")
	wantFiles(t, dir, "multi", "/usr/lib/a.so", "/usr/lib/b.so")
	wantFiles(t, dir, "multi:i386", "/usr/lib/b.so")
	wantFiles(t, dir, "[x]*", "/glob")
	wantFiles(t, dir, "new line", "/odd")
	wantFiles(t, dir, "no-newline", "/last")
	if got, err := filesIn([]string{dir}, "multi", nil); err != nil || slices.Contains(got, "/not/this") {
		t.Errorf("multi: %q, %v", got, err)
	}
	if got, err := filesIn([]string{dir}, "empty", nil); err != nil || len(got) != 0 {
		t.Errorf("empty: %q, %v", got, err)
	}
}

// A package that was removed has taken its list with it: the lower has it still,
// with ":ARCH" too, and where the whole directory is deleted.
func TestRemovedPackage(t *testing.T) {
	dir := infoDir(t, map[string]string{"gone.list": "/usr/bin/gone\n", "multi:amd64.list": "/usr/lib/a.so\n", "old.list": "/old\n"})
	for _, name := range []string{"gone.list", "multi:amd64.list"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "old.list"), []byte("/new\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, dir, "gone", "/usr/bin/gone")
	wantFiles(t, dir, "multi", "/usr/lib/a.so")
	wantFiles(t, dir, "old", "/old", "/new")
	if err := os.RemoveAll(filepath.Dir(filepath.Dir(dir))); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, dir, "gone", "/usr/bin/gone")
	wantFiles(t, dir, "multi", "/usr/lib/a.so")
}

func TestUnknownAndHostileNames(t *testing.T) {
	dir := infoDir(t, map[string]string{"a.list": "/a\n"})
	if _, err := filesIn([]string{dir}, "unknown", nil); !errors.Is(err, ErrUnknown) {
		t.Errorf("an unknown package: %v", err)
	}
	for _, name := range []string{"", ".", "..", "../a", "a/../a", "/etc/passwd", "a/"} {
		if _, err := Files(name, nil); !errors.Is(err, unix.EINVAL) {
			t.Errorf("%q: %v, want EINVAL", name, err)
		}
	}
}

// What is no regular file is not waited for, and not followed.
func TestHostileLists(t *testing.T) {
	dir := infoDir(t, nil)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := errors.Join(
		unix.Mkfifo(filepath.Join(dir, "fifo.list"), 0o600),
		os.WriteFile(secret, []byte("/secret\n"), 0o600),
		os.Symlink(secret, filepath.Join(dir, "link.list")),
		os.Mkdir(filepath.Join(dir, "dir.list"), 0o755),
	); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"fifo", "link", "dir"} {
		if got, err := filesIn([]string{dir}, name, nil); !errors.Is(err, ErrUnknown) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
