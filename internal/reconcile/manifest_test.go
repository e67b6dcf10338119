// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"archive/tar"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/journal"
	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

// archive is a tree as tar packs it.
func archive(t *testing.T, root string) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	must(t, filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		target := ""
		if info.Mode()&fs.ModeSymlink != 0 {
			if target, err = os.Readlink(path); err != nil {
				return err
			}
		}
		h, err := tar.FileInfoHeader(info, target)
		if err != nil {
			return err
		}
		h.Name, h.Format, h.PAXRecords = "."+strings.TrimPrefix(path, root), tar.FormatPAX, map[string]string{}
		buf := make([]byte, 100)
		if n, err := unix.Lgetxattr(path, "user.x", buf); err == nil {
			h.PAXRecords["SCHILY.xattr.user.x"] = string(buf[:n])
		}
		if err := w.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err == nil {
			_, err = w.Write(data)
		}
		return err
	}))
	must(t, w.Close())
	return &b
}

// manifest puts the manifest into an image, as the build of one does.
func (s *stage) manifest(version string) {
	s.t.Helper()
	var b bytes.Buffer
	must(s.t, WriteManifest(&b, archive(s.t, s.images[version]), ""))
	path := filepath.Join(s.images[version], ManifestPath)
	must(s.t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(s.t, os.WriteFile(path, b.Bytes(), 0o644))
}

// Nobody records a baseline: the manifest of the image before tells all that a
// record would, and more than one of before the user's work; and so it does for the
// way back and forth.
func TestManifest(t *testing.T) { variants(t, testManifest) }

func testManifest(t *testing.T, s *stage) {
	t.Helper()
	for version, tr := range map[string]tree{"1": imageV1, "2": imageV2} {
		s.image(version, tr)
		s.manifest(version)
	}
	s.boot("1")
	s.run(nil)
	work(s)
	before := s.seen()
	s.update("2")
	s.run(nil)
	want := s.afterV2()
	s.want("with the manifest of the image before", want)
	must(t, os.WriteFile(s.in("etc/since"), []byte("since"), 0o644))
	must(t, os.WriteFile(s.in("usr/bin/tool"), []byte("mine"), 0o755))
	s.update("1")
	if got := s.run(nil); got.Outcome != RolledBack {
		t.Errorf("back to the first image: %s", got.Outcome)
	}
	before["etc/since"], before["usr/bin/tool"] = "since", "mine mode=0755"
	s.want("back on the first image", before)
	s.update("2")
	s.run(nil)
	want["etc/since"] = "since"
	s.want("on the second image again", want)
}

// A manifest that was made for another image, or of which a part is missing, is
// not believed: then it is as if there were none, and the record says why.
func TestManifestOfAnother(t *testing.T) {
	other := func(from, to string) func([]byte) []byte {
		return func(b []byte) []byte { return bytes.Replace(b, []byte(from), []byte(to), 1) }
	}
	for name, change := range map[string]func([]byte) []byte{
		"another image":  other(`IMAGE_VERSION=1`, `IMAGE_VERSION=0`),
		"not complete":   other(`"complete":true`, `"complete":false`),
		"cut off":        func(b []byte) []byte { return b[:bytes.LastIndexByte(b[:len(b)-1], '\n')+1] },
		"cut in a line":  func(b []byte) []byte { return b[:len(b)-10] },
		"empty":          func([]byte) []byte { return nil },
		"not in order":   other(`"p":"etc/app.conf"`, `"p":"zzz"`),
		"no such a file": nil,
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			s.image("1", imageV1)
			s.image("2", imageV2)
			s.manifest("1")
			path := filepath.Join(s.images["1"], ManifestPath)
			if change == nil {
				must(t, os.Remove(path))
			} else {
				data, err := os.ReadFile(path)
				must(t, err)
				must(t, os.WriteFile(path, change(data), 0o644))
			}
			s.boot("1")
			s.run(nil)
			target, release := s.target()
			recorded, err := Record(t.Context(), target, openStore)
			release()
			must(t, err)
			if recorded.Manifest || (recorded.NoManifest == nil) != (change == nil) {
				t.Errorf("%+v", recorded)
			}
			work(s)
			s.update("2")
			seen := s.seen()
			for _, r := range s.run(nil).Results {
				if r.Action == Drop && r.Reason != Redundant && r.Reason != Orphan {
					t.Errorf("%s: %v", r.Rel, r.Decision)
				}
			}
			s.want("after the update", seen)
		})
	}
}

// What was seen on the device counts more than what was said when the image was
// built.
func TestRecordBeforeManifest(t *testing.T) {
	s := newStage(t)
	s.image("1", tree{"etc/a": "told", "etc/b": "b 1"})
	s.image("2", tree{"etc/a": "a 2", "etc/b": "b 2"})
	s.manifest("1")
	must(t, os.WriteFile(filepath.Join(s.images["1"], "etc/a"), []byte("a 1"), 0o644))
	s.boot("1")
	s.run(nil)
	must(t, os.Chmod(s.in("etc/a"), 0o644))
	s.record()
	must(t, os.Chmod(s.in("etc/b"), 0o644))
	s.update("2")
	s.run(nil)
	s.want("after the update", tree{"etc/": "", "etc/a": "a 2", "etc/b": "b 2", "usr/": "", "usr/lib/": ""})
}

// An overlay of one directory takes its part of the image's manifest, wherever the
// image shows it, and an image of /usr alone has its own.
func TestManifestOfPart(t *testing.T) {
	dir := t.TempDir()
	root := filepath.Join(dir, "image")
	for _, name := range []string{"image", "upper", "upper.ovl-restore"} {
		must(t, os.Mkdir(filepath.Join(dir, name), 0o755))
	}
	tree{
		"etc/a": "a", "etc/d/b": "b", "etc-x": "not this", "opt/lib/etc/c": "c", "usr/lib/os-release": "IMAGE_ID=part", "usr/lib/u": "u",
	}.write(t, root)
	var b bytes.Buffer
	must(t, WriteManifest(&b, archive(t, root), ""))
	tree{ManifestPath: b.String()}.write(t, root)
	for _, test := range []struct{ lower, path, want string }{
		{".", "", "etc/a"}, {"etc", "", "d/b"}, {"etc/d", "", "b"}, {"opt/lib/etc", "", "c"}, {"usr", "", "lib/u"},
	} {
		layers, err := overlay.OpenLayers(filepath.Join(dir, "upper"), []string{filepath.Join(root, test.lower)}, overlay.LayerOptions{})
		must(t, err)
		store, err := journal.Open(layers.Upper().Root(), layers.Upper().Where)
		must(t, err)
		must(t, store.Remove(manifestName))
		if ok, err := keepManifest(layers, store, "IMAGE_ID=part"); !ok || err != nil {
			t.Fatalf("%s: %v, %v", test.lower, ok, err)
		}
		kept, err := storedBase(store, manifestName, "IMAGE_ID=part")
		must(t, err)
		if v, err := kept.at(test.want); err != nil || v.Type != File {
			t.Errorf("%s: %s is %+v, %v", test.lower, test.want, v, err)
		}
		if v, err := kept.at("zz"); err != nil || v != Nothing {
			t.Errorf("%s: what the image does not have: %+v, %v", test.lower, v, err)
		}
		must(t, kept.Close())
		must(t, store.Close())
		must(t, layers.Close())
	}
}

// What is no complete archive makes no manifest: what was left out would count as
// what the image does not have.
func TestManifestNeedsAll(t *testing.T) {
	root := t.TempDir()
	tree{"etc/a": strings.Repeat("a", 1000), "usr/lib/os-release": "IMAGE_ID=1"}.write(t, root)
	whole := archive(t, root).Bytes()
	for n := 0; n < len(whole)-1024; n += 100 {
		var out bytes.Buffer
		if err := WriteManifest(&out, bytes.NewReader(whole[:n]), ""); err == nil || out.Len() > 0 {
			t.Fatalf("%d bytes of %d: %v, %q", n, len(whole), err, out.String())
		}
	}
	broken := bytes.Clone(whole)
	broken[100] ^= 1 // a mode
	if err := WriteManifest(&bytes.Buffer{}, bytes.NewReader(broken), ""); !errors.Is(err, errTar) {
		t.Errorf("a bit that changed: %v", err)
	}
	must(t, os.Remove(filepath.Join(root, "usr/lib/os-release")))
	if err := WriteManifest(&bytes.Buffer{}, archive(t, root), ""); !errors.Is(err, errNoRelease) {
		t.Errorf("no os-release: %v", err)
	}
	if err := WriteManifest(&bytes.Buffer{}, archive(t, root), "by a command"); err != nil {
		t.Errorf("named: %v", err)
	}
}
