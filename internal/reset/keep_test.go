// SPDX-License-Identifier: Apache-2.0

package reset

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/test/namespace"
)

// What is kept keeps everything: content, mode, owner, times, attributes, links.
func TestKeep(t *testing.T) {
	d := newDevice(t)
	d.Mount(t)
	m := d.Merged
	key := filepath.Join(m, "etc/ssh/key")
	d.check(unix.Setxattr(key, "user.note", []byte("kept"), 0))
	past := time.Unix(1_000_000_000, 123_456_789)
	d.check(os.Chtimes(key, past, past))
	d.check(os.Mkdir(filepath.Join(m, "etc/own"), 0o700))
	d.write(m, "etc/own/deep/er/file", "kept\n")
	d.check(os.Symlink("nowhere", filepath.Join(m, "etc/own/link")))
	d.check(unix.Mkfifo(filepath.Join(m, "etc/own/fifo"), 0o640))
	d.check(os.Chmod(filepath.Join(m, "etc"), 0o777)) // the image's is 0755
	d.check(os.Remove(filepath.Join(m, "etc/passwd")))
	if namespace.Privileged() {
		d.check(os.Chown(key, 7, 8))
	}
	d.check(os.Chtimes(filepath.Join(m, "etc/own"), past, past))
	d.Unmount(t)
	used := d.merged()
	image := tree(t, d.Lower)

	d.request(&Order{Keep: []string{"/etc/ssh/key*", "/etc/own", "/etc/passwd", "/usr/share/doc/**", "/usr/bin/tool", "/no/such"}})
	d.perform()
	got := d.merged()

	want := maps.Clone(image)
	for _, name := range []string{
		"etc/ssh/key", "etc/ssh/key2", "etc/own", "etc/own/deep", "etc/own/deep/er", "etc/own/deep/er/file",
		"etc/own/link", "etc/own/fifo", "usr/share/doc/mine",
	} {
		want[name] = used[name]
	}
	if !cmp.Equal(want, got) {
		t.Error(cmp.Diff(want, got))
	}
	upper := filepath.Join(d.Upper, "etc/ssh/key")
	var a, b unix.Stat_t
	d.check(unix.Lstat(upper, &a))
	d.check(unix.Lstat(upper+"2", &b))
	if a.Ino != b.Ino {
		t.Error("the two names of one file are two files now")
	}
	note := make([]byte, 10)
	if n, err := unix.Getxattr(upper, "user.note", note); err != nil || string(note[:n]) != "kept" {
		t.Errorf("attribute: %q, %v", note, err)
	}
	var own unix.Stat_t
	d.check(unix.Lstat(filepath.Join(d.Upper, "etc/own"), &own))
	if got := time.Unix(own.Mtim.Unix()); !got.Equal(past) {
		t.Errorf("the kept directory is of %v", got)
	}

	// Clean-up takes the old names away, and not the files.
	_, err := Cleanup(t.Context(), []*Place{d.place()}, CleanupOptions{})
	d.check(err)
	if got := d.merged(); !cmp.Equal(want, got) {
		t.Error(cmp.Diff(want, got))
	}
	d.check(unix.Lstat(upper, &a))
	if a.Nlink != 2 {
		t.Errorf("%d links after the clean-up", a.Nlink)
	}
}

// A kept copy has an origin, and its directory is marked as overlayfs does it.
func TestKeepMarksImpure(t *testing.T) {
	if !namespace.Privileged() {
		t.Skip("an overlay with userxattr has no origins, and no index")
	}
	d := newDevice(t)
	d.request(&Order{Keep: []string{"/etc/hostname"}})
	d.perform()
	mark := make([]byte, 10)
	if n, err := unix.Getxattr(filepath.Join(d.Upper, "etc"), "trusted.overlay.impure", mark); err != nil || string(mark[:n]) != "y" {
		t.Errorf("impure: %q, %v", mark, err)
	}
	if _, err := unix.Getxattr(filepath.Join(d.Upper, "etc"), "trusted.overlay.opaque", mark); err == nil {
		t.Error("the directory is opaque")
	}
}

// Parents that the image lacks are made as they were in the upper.
func TestKeepWithOwnParents(t *testing.T) {
	d := newDevice(t)
	d.check(os.Chmod(filepath.Join(d.Upper, "home"), 0o710))
	d.request(&Order{Keep: []string{"/home/a name*"}})
	d.perform()
	var st unix.Stat_t
	d.check(unix.Lstat(filepath.Join(d.Upper, "home"), &st))
	if st.Mode&0o7777 != 0o710 {
		t.Errorf("mode %o", st.Mode)
	}
	if missing(filepath.Join(d.Upper, "home/a name\nwith\xffbytes")) {
		t.Error("not kept")
	}
}

// What cannot be linked is copied.
func TestKeepImmutable(t *testing.T) {
	d := newDevice(t)
	key := filepath.Join(d.Upper, "etc/ssh/key")
	f, err := os.Open(key)
	d.check(err)
	defer func() { _ = f.Close() }()
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flagImmutable); err != nil {
		t.Skip("the kernel allows this only with trusted.* xattrs: runs as root")
	}
	t.Cleanup(func() { unhold(int(f.Fd())) })
	used := d.merged()
	d.request(&Order{Keep: []string{"/etc/ssh/key"}})
	d.perform()
	got := d.merged()
	if got["etc/ssh/key"] != used["etc/ssh/key"] {
		t.Errorf("kept as %s", got["etc/ssh/key"])
	}
	// The old one is immutable, too, and goes all the same.
	_, err = Cleanup(t.Context(), []*Place{d.place()}, CleanupOptions{})
	d.check(err)
	if got := d.look(); got.State != None {
		t.Errorf("%+v", got)
	}
	kept, err := os.Open(key)
	d.check(err)
	defer func() { _ = kept.Close() }()
	if !held(int(kept.Fd())) {
		t.Error("the copy is not immutable")
	}
	unhold(int(kept.Fd()))
}

func TestSurvey(t *testing.T) {
	d := newDevice(t)
	s, err := d.place().Survey(t.Context(), &Order{Keep: []string{"/etc/ssh"}})
	d.check(err)
	// etc, hostname, usr, bin, tool, share, doc, mine, home and its file.
	if s.Keeps.Entries != 3 || s.Goes.Entries != 10 || s.Backups.Entries != 4 || s.Keeps.Bytes == 0 {
		t.Errorf("%+v", s)
	}
	used := tree(t, d.Upper)
	if _, err := d.place().Survey(t.Context(), &Order{}); err != nil || !cmp.Equal(used, tree(t, d.Upper)) {
		t.Errorf("a survey changed something: %v", err)
	}
}

// A pattern matches what doublestar says, and what is below.
func TestPatterns(t *testing.T) {
	paths := []string{"a", "a/b", "a/b/c", "a/b/c/d", "ab", "b", "b/a", "b/b", "b/a/b", "b/a/b/c", "x*", "x*/y"}
	for _, pattern := range []string{
		"/a", "/a/b", "/*", "/*/b", "/**", "/**/b", "/a/**", "/a/**/c", "/**/a/**/c", "/?", "/[ab]/b", "/a*", "/x\\*", "/b/**/b/*",
	} {
		d := &device{Overlay: namespace.NewOverlay(t), t: t}
		var want []string
		for _, p := range paths {
			d.check(os.MkdirAll(filepath.Join(d.Upper, p), 0o755))
			for at := p; at != "."; at = filepath.Dir(at) {
				// What is below a directory is not the directory itself.
				against := strings.TrimPrefix(pattern, "/")
				if strings.HasSuffix(against, "/**") {
					against += "/*"
				}
				if doublestar.MatchUnvalidated(against, at) {
					want = append(want, p)
					break
				}
			}
		}
		for _, mount := range []string{"/", "/a"} {
			want := want
			if mount == "/a" { // the same names below a mount point
				pattern = "/a" + pattern
			}
			d.check(CheckPattern(pattern))
			f, err := os.Open(d.Upper)
			d.check(err)
			var got []string
			k := keeper{upper: int(f.Fd()), take: func(e kept) error { got = append(got, e.rel); return nil }}
			d.check(k.run(newMatcher([]string{pattern}, mount)))
			d.check(f.Close())
			slices.Sort(got)
			slices.Sort(want)
			if !cmp.Equal(want, got) {
				t.Errorf("%s on %s: %s", pattern, mount, cmp.Diff(want, got))
			}
		}
	}
	for _, bad := range []string{"", "a", "/a/../b", "/./a", "/[", "/a/[x"} {
		if CheckPattern(bad) == nil {
			t.Errorf("%q is taken for a pattern", bad)
		}
	}
}

// Of the lists in the image and the upper, that of /etc replaces that of
// /usr/lib, and the upper's the image's.
func TestKeepFiles(t *testing.T) {
	d := newDevice(t)
	for name, text := range map[string]string{
		"usr/lib/ovl-restore/keep.d/10-a.conf": "# comment\n\n/a\n/a\n",
		"usr/lib/ovl-restore/keep.d/20-b.conf": "/b\n",
		"usr/lib/ovl-restore/keep.d/30-c.conf": "/c\n",
		"usr/lib/ovl-restore/keep.d/README":    "no pattern\n",
		"etc/ovl-restore/keep.d/20-b.conf":     "/bb\n",
		"etc/ovl-restore/keep.d/40-d.conf":     "/d\n",
	} {
		d.write(d.Lower, name, text)
	}
	d.Mount(t)
	d.check(os.Remove(filepath.Join(d.Merged, "etc/ovl-restore/keep.d/40-d.conf")))
	d.write(d.Merged, "etc/ovl-restore/keep.d/50-e.conf", "/e\n")
	d.check(os.Symlink("/dev/null", filepath.Join(d.Merged, "etc/ovl-restore/keep.d/30-c.conf")))
	live, err := KeepFiles(d.Merged)
	d.check(err)
	d.Unmount(t)
	layers, err := KeepFilesBelow([]Overlay{d.overlay()})
	d.check(err)
	want := []string{"/a", "/bb", "/e"}
	if !cmp.Equal(want, live) || !cmp.Equal(want, layers) {
		t.Errorf("live %q, from the layers %q, want %q", live, layers, want)
	}
	d.write(d.Lower, "usr/lib/ovl-restore/keep.d/60-f.conf", "relative\n")
	if _, err := KeepFilesBelow([]Overlay{d.overlay()}); err == nil {
		t.Error("no error for a bad pattern")
	}
}

// A metacopy below a renamed directory has its content in the image, at another
// place. It is kept with it.
func TestKeepMetacopyBelowRedirect(t *testing.T) {
	if !namespace.Privileged() {
		t.Skip("the kernel allows this only with trusted.* xattrs: runs as root")
	}
	const options = "redirect_dir=on,metacopy=on"
	d := newDevice(t)
	d.write(d.Lower, "srv/www/deep/page", "the image's page\n")
	d.write(d.Lower, "srv/www/deep/empty", "")
	d.Mount(t, options)
	d.check(os.Rename(filepath.Join(d.Merged, "srv/www"), filepath.Join(d.Merged, "srv/site")))
	d.check(os.Rename(filepath.Join(d.Merged, "srv/site/deep"), filepath.Join(d.Merged, "srv/site/far")))
	page := filepath.Join(d.Merged, "srv/site/far/page")
	d.check(os.Chmod(page, 0o600))
	d.check(os.Chtimes(page, time.Unix(1e9, 0), time.Unix(1e9, 7)))
	d.check(os.Link(page, filepath.Join(d.Merged, "srv/site/far/link")))
	d.check(os.Chmod(filepath.Join(d.Merged, "srv/site/far/empty"), 0o640))
	used := tree(t, d.Merged)
	d.Unmount(t)
	if _, err := unix.Getxattr(filepath.Join(d.Upper, "srv/site/far/page"), "trusted.overlay.metacopy", nil); err != nil {
		t.Fatalf("no metacopy: %v", err)
	}

	d.request(&Order{Keep: []string{"/srv/site/far"}})
	// Without the lowers nothing is done, and that is told.
	without, err := Open(Overlay{Upper: d.Upper, Work: d.Work})
	d.check(err)
	defer func() { _ = without.Close() }()
	if _, err := Perform([]*Place{without}, PerformOptions{}); !errors.Is(err, errNoContent) {
		t.Errorf("without lowers: %v", err)
	}
	if d.look().State != Requested {
		t.Errorf("without lowers: %+v", d.look())
	}
	d.perform()
	d.Mount(t, options)
	defer d.Unmount(t)
	got := tree(t, d.Merged)
	for _, name := range []string{"srv/site/far", "srv/site/far/page", "srv/site/far/link", "srv/site/far/empty"} {
		if got[name] != used[name] {
			t.Errorf("%s: %s, want %s", name, got[name], used[name])
		}
	}
	if got["srv/www/deep/page"] == "" {
		t.Error("what was renamed is not there again")
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(d.Upper, "srv/site/far/page"), &st); err != nil || st.Nlink != 2 {
		t.Errorf("%d links, %v", st.Nlink, err)
	}
}
