// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/overlay"
	"github.com/ovl-restore/ovl-restore/test/faultpoint"
	"github.com/ovl-restore/ovl-restore/test/namespace"
)

func TestMain(m *testing.M) {
	faultpoint.Main(scenarios)
	namespace.Main(m)
}

var _ overlay.Keeper = (*Tx)(nil)

// upperDir makes an upper directory and opens it as the overlay package does.
func upperDir(t *testing.T) (*os.File, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "upper")
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	return openPathOnly(t, path), path
}

func openPathOnly(t *testing.T, path string) *os.File {
	t.Helper()
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), path)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func begin(t *testing.T, upper *os.File, path string) (*Store, *Tx) {
	t.Helper()
	s, err := Open(upper, path)
	if err != nil {
		t.Fatal(err)
	}
	tx, err := s.Begin(Intent{Kind: KindRestore})
	if err != nil {
		t.Fatal(err)
	}
	return s, tx
}

func loggedLines(t *testing.T, upper, id string) []record {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(upper+Suffix, "tx", id, "log.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var all []record
	for line := range bytes.Lines(data) {
		var r record
		if err := json.Unmarshal(line, &r); err != nil || line[len(line)-1] != '\n' {
			t.Fatalf("log line %q: %v", line, err)
		}
		all = append(all, r)
	}
	return all
}

// Every type of entry can be moved, every type but a directory linked, and the
// log says which number was which name, whatever the name.
func TestKeepsEveryType(t *testing.T) {
	upper, path := upperDir(t)
	makers := map[string]func(string) error{
		"file":   func(p string) error { return os.WriteFile(p, []byte("content"), 0o640) },
		"link":   func(p string) error { return os.Symlink("/nowhere", p) },
		"fifo":   func(p string) error { return unix.Mkfifo(p, 0o600) },
		"socket": func(p string) error { return unix.Mknod(p, unix.S_IFSOCK|0o600, 0) },
		"white":  func(p string) error { return unix.Mknod(p, unix.S_IFCHR, 0) },
		"dir": func(p string) error {
			return errors.Join(os.MkdirAll(p+"/sub", 0o755), os.WriteFile(p+"/sub/f", nil, 0o644))
		},
		"a\nb":                   func(p string) error { return os.WriteFile(p, nil, 0o644) },
		"\xff\xfe":               func(p string) error { return os.WriteFile(p, nil, 0o644) },
		strings.Repeat("n", 255): func(p string) error { return os.WriteFile(p, nil, 0o644) },
	}
	for _, op := range []string{"link", "move"} {
		s, tx := begin(t, upper, path)
		want := map[string]string{} // by number, the name
		for name, create := range makers {
			p := filepath.Join(path, name)
			if err := create(p); err != nil {
				t.Fatal(err)
			}
			before := modeOf(t, p)
			keep := tx.Move
			if op == "link" {
				keep = tx.Link
			}
			where, err := keep(int(openPathOnly(t, path).Fd()), name, "deep/"+name)
			if op == "link" && name == "dir" {
				if err == nil {
					t.Error("a directory was linked")
				}
				continue
			}
			if err != nil {
				t.Errorf("%s %q: %v", op, name, err)
				continue
			}
			if got := modeOf(t, where); got != before {
				t.Errorf("%s %q: mode %o in the backup, was %o", op, name, got, before)
			}
			if _, err := os.Lstat(p); (err == nil) != (op == "link") {
				t.Errorf("%s %q: the entry itself: %v", op, name, err)
			}
			want[filepath.Base(where)] = "deep/" + name
			_ = os.RemoveAll(p)
		}
		if err := errors.Join(tx.Done(), s.Close()); err != nil {
			t.Error(err)
		}
		log := loggedLines(t, path, tx.ID)
		if log[0].Op != "begin" || log[len(log)-1].Op != "done" {
			t.Errorf("the log begins with %s and ends with %s", log[0].Op, log[len(log)-1].Op)
		}
		seen := map[int]bool{}
		for _, r := range log[1 : len(log)-1] {
			name := r.Path
			if r.Bytes != nil {
				name = string(r.Bytes)
			}
			if seen[r.N] {
				t.Errorf("the number %d is in the log twice", r.N)
			}
			seen[r.N] = true
			if kept, ok := want[strconv.Itoa(r.N)]; ok && (kept != name || string(r.Op) != op) {
				t.Errorf("record %+v, want %s of %q", r, op, kept)
			}
		}
	}
}

func modeOf(t *testing.T, path string) uint32 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Mode
}

// What the log does not have on disk is not done: a full disk drops nothing,
// and the log stays readable afterwards.
func TestFullDiskDropsNothing(t *testing.T) {
	base := t.TempDir()
	namespace.Mount(t, "tmpfs", base, "tmpfs", 0, "size=64k")
	path := filepath.Join(base, "upper")
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		if err := os.WriteFile(filepath.Join(path, name), []byte("precious"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	upper := openPathOnly(t, path)
	s, tx := begin(t, upper, path)
	long := strings.Repeat("d/", 1500)
	for i := range 3 { // the log ends in the middle of a page
		if err := tx.Note("opaque", long); err != nil {
			t.Fatalf("note %d: %v", i, err)
		}
	}
	fill, err := os.Create(filepath.Join(base, "fill"))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = fill.Write(make([]byte, 4096))
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	for range 3 {
		if _, err = tx.Move(int(upper.Fd()), "a", long+"a"); err != nil {
			break
		}
		t.Log("a record still fitted")
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("on a full disk: %v, want ENOSPC", err)
	}
	if data, err := os.ReadFile(filepath.Join(path, "a")); err != nil || string(data) != "precious" {
		t.Errorf("the entry: %q, %v", data, err)
	}
	if err := errors.Join(fill.Close(), os.Remove(fill.Name())); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Move(int(upper.Fd()), "b", "b"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(tx.Done(), s.Close()); err != nil {
		t.Error(err)
	}
	log := loggedLines(t, path, tx.ID) // no torn line
	if last := log[len(log)-2]; last.Path != "b" {
		t.Errorf("the last record is %+v", last)
	}
}

func TestLock(t *testing.T) {
	upper, path := upperDir(t)
	first, err := Open(upper, path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(upper, path); !errors.Is(err, ErrLocked) {
		t.Errorf("a second one: %v, want ErrLocked", err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	again, err := Open(upper, path)
	if err != nil {
		t.Fatalf("after the first closed: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

// The store lies where an attacker may have been before. Nothing outside may be
// written, and nobody else may be able to take the backups away.
func TestHostileStore(t *testing.T) {
	for name, plant := range map[string]func(store, outside string) error{
		"the store is a link": func(store, outside string) error { return os.Symlink(outside, store) },
		"the store is a file": func(store, _ string) error { return os.WriteFile(store, nil, 0o600) },
		"the lock is a link": func(store, outside string) error {
			return errors.Join(os.Mkdir(store, 0o700), os.Symlink(outside+"/lock", store+"/lock"))
		},
		"tx is a link": func(store, outside string) error {
			return errors.Join(os.Mkdir(store, 0o700), os.Symlink(outside, store+"/tx"))
		},
		"anybody may write to the store": func(store, _ string) error {
			return errors.Join(os.Mkdir(store, 0o700), os.Chmod(store, 0o777))
		},
		"anybody may write to tx": func(store, _ string) error {
			return errors.Join(os.MkdirAll(store+"/tx", 0o700), os.Chmod(store+"/tx", 0o1777))
		},
	} {
		t.Run(name, func(t *testing.T) {
			upper, path := upperDir(t)
			outside := t.TempDir()
			if err := plant(path+Suffix, outside); err != nil {
				t.Fatal(err)
			}
			s, err := Open(upper, path)
			if err == nil {
				_, err = s.Begin(Intent{Kind: KindRestore})
				_ = s.Close()
			}
			if err == nil {
				t.Error("it was used")
			}
			if left, _ := os.ReadDir(outside); len(left) > 0 {
				t.Errorf("written outside: %v", left)
			}
		})
	}
}

func TestStoreOfAnotherOwner(t *testing.T) {
	upper, path := upperDir(t)
	if err := os.Mkdir(path+Suffix, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path+Suffix, 1, 1); err != nil {
		t.Skip("a user name space with one user: there is no other owner: ", err)
	}
	if s, err := Open(upper, path); err == nil {
		t.Error("it was used")
		_ = s.Close()
	}
}

// The upper is found in its parent, whatever the mount options call it.
func TestUpperByAnotherName(t *testing.T) {
	upper, path := upperDir(t)
	s, err := Open(upper, "/gone/called-otherwise")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path + Suffix + "/lock"); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// The upper is the root of its mount: nothing lies beside it.
func TestUpperIsAMountsRoot(t *testing.T) {
	_, path := upperDir(t)
	namespace.Mount(t, path, path, "", unix.MS_BIND, "")
	tree, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	root := os.NewFile(uintptr(tree), path)
	defer root.Close()
	if s, err := Open(root, path); err == nil {
		t.Errorf("a store at %s", s.path)
		_ = s.Close()
	}
}
