// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

func readSample(t *testing.T, name string) []Mount {
	t.Helper()
	f, err := os.Open("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	table, err := mountinfo.GetMountsFromReader(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	return mountTable(table).overlays()
}

func plain(paths ...string) []LayerPath {
	var all []LayerPath
	for _, p := range paths {
		all = append(all, LayerPath{p, p})
	}
	return all
}

func TestCalculinux(t *testing.T) {
	mounts := readSample(t, "calculinux.mountinfo")
	var points []string
	for _, m := range mounts {
		points = append(points, m.Point)
		name := m.Point[1:]
		want := Config{
			Lowers: plain("/" + name),
			Upper:  plain("/data/overlay/" + name + "/upper")[0],
			Work:   plain("/data/overlay/" + name + "/work")[0],
		}
		if diff := cmp.Diff(want, m.Config); diff != "" {
			t.Errorf("%s (-want +got):\n%s", m.Point, diff)
		}
		if m.Root != "/" || m.ReadOnly != (m.Point == "/opt") {
			t.Errorf("%+v", m)
		}
	}
	if want := []string{"/etc", "/root", "/home", "/var", "/usr", "/opt"}; !slices.Equal(points, want) {
		t.Errorf("overlays at %q, want %q", points, want)
	}
	if mounts[0].Dev != unix.Mkdev(0, 40) || mounts[0].ID != 40 {
		t.Errorf("%+v", mounts[0])
	}
}

func TestRootOverlayAfterSwitchRoot(t *testing.T) {
	mounts := readSample(t, "switchroot.mountinfo")
	if len(mounts) != 2 {
		t.Fatalf("%d overlay mounts, want 2", len(mounts))
	}
	want := Config{
		Lowers: plain("/run/rootfs/lower"), Upper: plain("/run/rootfs/data/upper")[0], Work: plain("/run/rootfs/data/work")[0],
		Index: true, NFSExport: true, Metacopy: true, Volatile: true, Redirect: "on",
	}
	for _, m := range mounts {
		if diff := cmp.Diff(want, m.Config); diff != "" {
			t.Errorf("%s (-want +got):\n%s", m.Point, diff)
		}
	}
	if mounts[0].Dev != mounts[1].Dev || mounts[1].Root != "/home/user" || mounts[1].Point != "/mnt/bind of home" {
		t.Errorf("the bind: %+v", mounts[1])
	}
}

func TestLayerOptions(t *testing.T) {
	mounts := readSample(t, "layers.mountinfo")
	for i, want := range []Config{
		{
			Lowers: plain("/l1", "/l2"), DataOnly: plain("/data1", "/data2"), Upper: plain("/u")[0], Work: plain("/w")[0],
			Redirect: "on", Metacopy: true,
		},
		{Lowers: plain("/l1:with colon", "/l2,comma"), DataOnly: plain(`/data\1`), Upper: plain("/u")[0], Work: plain("/w")[0], UserXattr: true},
		{
			Lowers: []LayerPath{{"/a:b", `/a\:b`}, {`/c\d`, `/c\\d`}, {"/e,f", `/e\,f`}, {"/new\nline", "/new\nline"}},
			Upper:  LayerPath{"/u,v w", `/u\,v w`}, Work: plain("/w=x")[0],
		},
		{Lowers: plain("l1", "l2")},
	} {
		if diff := cmp.Diff(want, mounts[i].Config); diff != "" {
			t.Errorf("%s (-want +got):\n%s", mounts[i].Point, diff)
		}
	}
	if !mounts[3].ReadOnly || mounts[0].ReadOnly {
		t.Error("read-only: wrong")
	}
}

// Whatever is in the options, parsing ends, and a path without escapes is what
// was written.
func FuzzParseConfig(f *testing.F) {
	for _, seed := range []string{"rw,lowerdir=/a:/b::/c,upperdir=/u", `lowerdir=\:\\:`, "lowerdir+=a,datadir+=b", `upperdir=\054\1`, "lowerdir=::::", `lowerdir=a\`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, options string) {
		c := parseConfig(options)
		for _, p := range append(append(c.Lowers, c.DataOnly...), c.Upper, c.Work) {
			if len(p.Path) > len(p.Literal) {
				t.Errorf("%q became longer: %q", p.Literal, p.Path)
			}
			if !strings.Contains(p.Literal, `\`) && p.Path != p.Literal {
				t.Errorf("%q became %q", p.Literal, p.Path)
			}
		}
	})
}

// What seq_escape writes is read back.
func FuzzUnescapeOctal(f *testing.F) {
	f.Add("a b,c\\d\n=")
	f.Fuzz(func(t *testing.T, s string) {
		if got := unescapeOctal(seqEscape(s)); got != s {
			t.Errorf("%q came back as %q", s, got)
		}
	})
}

// seqEscape is the kernel's, as seq_show_option uses it.
func seqEscape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; strings.IndexByte(",= \t\n\\", c) >= 0 {
			b.Write([]byte{'\\', '0' + c>>6, '0' + c>>3&7, '0' + c&7})
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func FuzzCleanPath(f *testing.F) {
	for _, seed := range []string{"/a/b", "/a//b///", "/", "//", "/a/..", "/a/.", "a", "", "/\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		clean, parent, name, err := cleanPath(path)
		if err != nil {
			return
		}
		if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
			t.Errorf("%q has the last name %q", path, name)
		}
		joined := parent + "/" + name
		if parent == "/" && joined != clean {
			joined = "/" + name
		}
		if joined != clean || !strings.HasPrefix(path, clean) {
			t.Errorf("%q: clean %q, parent %q, name %q", path, clean, parent, name)
		}
	})
}

func TestRemountFlags(t *testing.T) {
	for _, tt := range []struct {
		mount, super string
		want         uintptr
		err          error
	}{
		{"rw,relatime", "rw,lowerdir=/a", 0, nil},
		{"rw,nosuid,nodev,noexec,noatime", "rw", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, nil},
		{"rw,nosymfollow", "rw,sync,dirsync,lazytime,mand", unix.MS_NOSYMFOLLOW | unix.MS_SYNCHRONOUS | unix.MS_DIRSYNC | unix.MS_LAZYTIME | unix.MS_MANDLOCK, nil},
		{"ro,relatime", "rw", 0, unix.EROFS},
		{"rw", "ro,upperdir=/u", 0, unix.EROFS},
		{"rw,nosuid", "rw,upperdir=/nodev", unix.MS_NOSUID, nil},
	} {
		got, err := remountFlags(tt.mount, tt.super)
		if tt.err != nil {
			if err != tt.err { //nolint:errorlint // an errno
				t.Errorf("%q, %q: %v, want %v", tt.mount, tt.super, err, tt.err)
			}
			continue
		}
		if err != nil || got != tt.want|unix.MS_REMOUNT {
			t.Errorf("%q, %q: %#x, %v; want %#x", tt.mount, tt.super, got, err, tt.want|unix.MS_REMOUNT)
		}
	}
}

func TestReleaseAtLeast(t *testing.T) {
	for release, want := range map[string]bool{
		"6.7.0": true, "6.7": true, "6.10.2-arch1": true, "7.0-rc1": true, "10.1": true,
		"6.6.99": false, "6.1.0-56-cloud-amd64": false, "5.15.0": false, "6": false, "": false, "x": false,
	} {
		if got := releaseAtLeast(release, 6, 7); got != want {
			t.Errorf("releaseAtLeast(%q, 6, 7) = %t", release, got)
		}
	}
}

func TestEndingsAndBelow(t *testing.T) {
	for path, want := range map[string][]string{
		"/data/overlay/etc": {"data/overlay/etc", "overlay/etc", "etc"},
		"/":                 {"."}, "": {"."}, "etc": {"etc"}, "/a/../b//c/": {"b/c", "c"}, "../../x": {"x"},
	} {
		if got := endings(path); !slices.Equal(got, want) {
			t.Errorf("endings(%q) = %q, want %q", path, got, want)
		}
	}
	for _, tt := range []struct {
		dir, path, rel string
		ok             bool
	}{
		{"/", "/", ".", true},
		{"/", "/a/b", "a/b", true},
		{"/a", "/a", ".", true},
		{"/a", "/a/b", "b", true},
		{"/a", "/ab", "", false},
		{"/a/b", "/a", "", false},
		{"/a", "relative", "", false},
	} {
		rel, ok := below(tt.dir, tt.path)
		if ok != tt.ok || ok && rel != tt.rel {
			t.Errorf("below(%q, %q) = %q, %t", tt.dir, tt.path, rel, ok)
		}
	}
}
