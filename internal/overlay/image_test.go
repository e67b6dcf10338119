// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseOSRelease(t *testing.T) {
	for text, want := range map[string]Image{
		"":                          {},
		"ID=debian\nNAME=Debian\n":  {},
		"VERSION_ID=12":             {VersionID: "12"},
		"VERSION_ID='1''2'\n":       {VersionID: "12"},
		"#BUILD_ID=no\nBUILD_ID=\n": {},
		"IMAGE_ID=\"a \\\"b\\\" \\$c\"\r\n  IMAGE_VERSION=1.2\nBUILD_ID=2026-11-22\n": {
			ImageID: `a "b" $c`, ImageVersion: "1.2", BuildID: "2026-11-22",
		},
	} {
		if got := ParseOSRelease(text); got != want {
			t.Errorf("%q: %+v, want %+v", text, got, want)
		}
	}
}

// An overlay may be all of the system, or its /etc, or its /usr.
func TestImageIsFoundInTheLower(t *testing.T) {
	for _, c := range []struct{ file, lower string }{
		{"etc/os-release", "."},
		{"usr/lib/os-release", "."},
		{"etc/os-release", "etc"},
		{"usr/lib/os-release", "etc"}, // which has a link there, as a rule
		{"usr/lib/os-release", "usr"},
		{"usr/lib/os-release", "opt/some/where"},
	} {
		t.Run(c.file+" for "+c.lower, func(t *testing.T) {
			s := newStage(t)
			root := filepath.Join(t.TempDir(), "image")
			// A file system of its own: what is above it is another image.
			s.must(os.Mkdir(root, 0o755))
			s.must(unix.Mount("image", root, "tmpfs", 0, ""))
			t.Cleanup(func() { _ = unix.Unmount(root, unix.MNT_DETACH) })
			s.must(os.MkdirAll(filepath.Join(root, c.lower), 0o755))
			s.must(os.MkdirAll(filepath.Join(root, "etc"), 0o755))
			s.must(os.MkdirAll(filepath.Dir(filepath.Join(root, c.file)), 0o755))
			s.must(os.WriteFile(filepath.Join(root, c.file), []byte("IMAGE_ID=x\n"), 0o644))
			if c.file != "etc/os-release" {
				s.must(os.Symlink("../"+c.file, filepath.Join(root, "etc/os-release")))
			}
			s.mount("lowerdir=" + filepath.Join(root, c.lower))
			got, err := s.open().Image()
			if want := (Image{ImageID: "x"}); err != nil || got != want {
				t.Errorf("%+v, %v; want %+v", got, err, want)
			}
		})
	}
}

func TestImageIsThatOfTheLower(t *testing.T) {
	s := newStage(t)
	s.must(os.Mkdir(s.inLower("etc"), 0o755))
	s.must(os.WriteFile(s.inLower("etc/os-release"), []byte("IMAGE_ID=image\n"), 0o644))
	s.mount()
	s.write("etc/os-release", "IMAGE_ID=user\n")
	if got, err := s.open().Image(); err != nil || got.ImageID != "image" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestUUIDOfDevice(t *testing.T) {
	dir := t.TempDir()
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir, dir+"/no-device"); err != nil {
		t.Fatal(err)
	}
	if got := uuidOfDevice(dir, st.Dev); got != "" {
		t.Errorf("a directory as a device: %q", got)
	}
	if got := uuidOfDevice(dir+"/none", st.Dev); got != "" {
		t.Errorf("without links: %q", got)
	}
}
