// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/test/namespace"
)

func TestFiles(t *testing.T) {
	upper, path := upperDir(t)
	s, err := Open(upper, path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, name := range []string{"state.json", "queue/7"} {
		if _, err := s.ReadFile(name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v, want ErrNotExist", name, err)
		}
		for _, content := range []string{"long content", "short"} {
			if err := s.WriteFile(name, []byte(content)); err != nil {
				t.Fatal(err)
			}
			if got, err := s.ReadFile(name); err != nil || string(got) != content {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		}
	}
	if names, err := s.Files("queue"); err != nil || !slices.Equal(names, []string{"7"}) {
		t.Errorf("queue has %q, %v", names, err)
	}
	if names, err := s.Files("nothing"); err != nil || len(names) > 0 {
		t.Errorf("a directory that is not there has %q, %v", names, err)
	}
	for range 2 { // the second time there is none
		if err := s.Remove("queue/7"); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.ReadFile("queue/7"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("removed: %v", err)
	}
	for _, name := range []string{"", ".", "..", "../x", "/x", "a/b/c", "lock", "tx/x", "a//b", "a/"} {
		if err := s.WriteFile(name, nil); !errors.Is(err, unix.EINVAL) {
			t.Errorf("the name %q: %v, want EINVAL", name, err)
		}
	}
}

// A file whose new content cannot be written stays as it was.
func TestFileOnAFullDisk(t *testing.T) {
	base := t.TempDir()
	namespace.Mount(t, "tmpfs", base, "tmpfs", 0, "size=64k")
	path := filepath.Join(base, "upper")
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	s, err := Open(openPathOnly(t, path), path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.WriteFile("state.json", []byte("old")); err != nil {
		t.Fatal(err)
	}
	if err := s.WriteFile("state.json", make([]byte, 1<<20)); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("%v, want ENOSPC", err)
	}
	failed := errors.New("no more")
	if err := s.Replace("state.json", func(io.Writer) error { return failed }); !errors.Is(err, failed) {
		t.Errorf("%v, want %v", err, failed)
	}
	if got, err := s.ReadFile("state.json"); err != nil || string(got) != "old" {
		t.Errorf("%q, %v", got, err)
	}
	entries, err := os.ReadDir(path + Suffix)
	if err != nil || len(entries) != 2 {
		t.Errorf("left in the store: %v, %v", entries, err)
	}
}

// Who reads needs no lock, and cannot write.
func TestView(t *testing.T) {
	upper, path := upperDir(t)
	if _, err := View(upper, path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a store: %v", err)
	}
	s, err := Open(upper, path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.WriteFile("state.json", []byte("x")); err != nil {
		t.Fatal(err)
	}
	view, err := View(upper, path)
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	if got, err := view.ReadFile("state.json"); err != nil || string(got) != "x" {
		t.Errorf("%q, %v", got, err)
	}
	_, beginErr := view.Begin(Intent{})
	for _, err := range []error{view.WriteFile("state.json", nil), view.Remove("state.json"), beginErr} {
		if !errors.Is(err, ErrNotLocked) {
			t.Errorf("%v, want ErrNotLocked", err)
		}
	}
}
