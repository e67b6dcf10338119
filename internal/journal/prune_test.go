// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/test/faultpoint"
	"github.com/ovl-restore/ovl-restore/test/namespace"
)

func TestOverLimits(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	tx := func(id string, age time.Duration, bytes int64, state State) Info {
		return Info{ID: id, Began: now.Add(-age), Bytes: bytes, State: state}
	}
	undo := tx("5", day, 10, StateDone)
	undo.Undoes = "2"
	infos := []Info{ // the newest first
		tx("6", 0, 100, StateDone),
		undo,
		tx("4", 200*day, 10, StateOpen),
		{ID: "3", Bytes: 10, State: StateUndone}, // by a clock that knew nothing
		tx("2", 100*day, 10, StateDone),
		tx("1", 100*day, 10, StateRolledBack),
	}
	for name, test := range map[string]struct {
		limits Limits
		keep   string
		want   string
	}{
		"no limits":                  {},
		"all within":                 {limits: Limits{Count: 6, Age: 300 * day, Bytes: 150}},
		"age":                        {limits: Limits{Age: 90 * day}, want: "1 2"},
		"count":                      {limits: Limits{Count: 4}, want: "1 2"},
		"count, and one is kept":     {limits: Limits{Count: 3}, keep: "2", want: "1 3"},
		"bytes":                      {limits: Limits{Bytes: 130}, want: "1 2"},
		"the newest and the open":    {limits: Limits{Count: 1, Bytes: 1}, want: "1 2 3 5"},
		"an update is not confirmed": {limits: Limits{Count: 1, Age: time.Hour, Bytes: 1}, keep: "1 2 3"},
	} {
		var got []string
		for _, info := range overLimits(infos, test.limits, func(i *Info) bool {
			return slices.Contains(strings.Fields(test.keep), i.ID)
		}, now) {
			got = append(got, info.ID)
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

// threeDropped is a store with three transactions, each with a file.
func threeDropped(t *testing.T) (upper *os.File, path string) {
	t.Helper()
	upper, path = upperDir(t)
	s, err := Open(upper, path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range 3 {
		tx, err := s.Begin(Intent{Kind: KindRestore})
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprint("dir", i)
		err = errors.Join(os.MkdirAll(filepath.Join(path, name, "a/b/c"), 0o755), os.WriteFile(filepath.Join(path, name, "a/b/f"), nil, 0o644))
		if err == nil {
			_, err = tx.Move(int(openPathOnly(t, path).Fd()), name, name)
		}
		if err := errors.Join(err, tx.Done()); err != nil {
			t.Fatal(err)
		}
	}
	return upper, path
}

func pruneTo(upper *os.File, path string, count int) (ids []string, err error) {
	s, err := Open(upper, path)
	if err != nil {
		return nil, err
	}
	_, err = s.Prune(Limits{Count: count}, nil)
	if err == nil {
		ids, err = s.ids()
	}
	return ids, errors.Join(err, s.Close())
}

// Wherever it is killed, a transaction is there with all that it has, or it is
// gone; and the next call ends it.
func TestKillPrune(t *testing.T) {
	faultpoint.Sweep(t, atEach(faultpoint.Kill), func(t *testing.T) faultpoint.Scenario {
		upper, path := threeDropped(t)
		return faultpoint.Scenario{
			Program: faultpoint.Self("prune", path),
			Check: func(t *testing.T, stop faultpoint.Stop) {
				s, err := View(upper, path)
				if err != nil {
					t.Fatal(err)
				}
				infos, err := s.Transactions()
				if err := errors.Join(err, s.Close()); err != nil {
					t.Fatal(err)
				}
				for _, info := range infos {
					if _, err := os.Stat(filepath.Join(path+Suffix, "tx", info.ID, "backup/1/a/b/f")); err != nil || info.State != StateDone {
						t.Errorf("%v: %+v: %v", stop, info, err)
					}
				}
				ids, err := pruneTo(upper, path, 1)
				if err != nil || len(ids) != 1 || sequence(ids[0]) != 3 {
					t.Errorf("%v: then %q, %v", stop, ids, err)
				}
				if left, err := os.ReadDir(path + Suffix + "/tx"); err != nil || len(left) != 1 {
					t.Errorf("%v: then left: %v, %v", stop, left, err)
				}
			},
		}
	})
}

// Numbers are not used again while there is a transaction left.
func TestPruneKeepsCounting(t *testing.T) {
	upper, path := threeDropped(t)
	if ids, err := pruneTo(upper, path, 1); err != nil || len(ids) != 1 {
		t.Fatal(ids, err)
	}
	s, tx := begin(t, upper, path)
	defer s.Close()
	if err := tx.Done(); err != nil || sequence(tx.ID) != 4 {
		t.Errorf("%s, %v", tx.ID, err)
	}
}

// deepTree makes a tree of so many levels below dir, with a file at its end.
func deepTree(t *testing.T, dir string, levels int) {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	for i := 0; i < levels && err == nil; i++ {
		name := "d\n"
		if err = unix.Mkdirat(fd, name, 0o755); err == nil {
			var next int
			next, err = unix.Openat(fd, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			_ = unix.Close(fd)
			fd = next
		}
	}
	if err == nil {
		var file int
		if file, err = unix.Openat(fd, "end", unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o644); err == nil {
			_, err = unix.Write(file, []byte("deep"))
			_ = unix.Close(file)
		}
	}
	_ = unix.Close(fd)
	if err != nil {
		t.Fatal(err)
	}
}

// inGuest says whether this is a short run in an emulated guest.
func inGuest() bool { return testing.Short() && namespace.InGuest() }

// levels is how deep a deep tree is. In a guest it is not deeper than what a path
// can name.
func levels() int {
	if inGuest() {
		return 400
	}
	return 4000
}

// A tree of 4,000 levels is measured, and removed, by a few descriptors.
func TestPruneDeep(t *testing.T) {
	upper, path := upperDir(t)
	if err := os.Mkdir(path+"/top", 0o755); err != nil {
		t.Fatal(err)
	}
	deepTree(t, path+"/top", levels())
	s, tx := begin(t, upper, path)
	_, err := tx.Move(int(openPathOnly(t, path).Fd()), "top", "top")
	second, beginErr := s.Begin(Intent{})
	if err := errors.Join(err, tx.Done(), beginErr, second.Done()); err != nil {
		t.Fatal(err)
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	few := limit
	few.Cur = 64
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &limit) }()
	pruned, err := s.Prune(Limits{Count: 1}, nil)
	if err := errors.Join(err, s.Close()); err != nil || len(pruned) != 1 {
		t.Fatal(pruned, err)
	}
	left, err := os.ReadDir(path + Suffix + "/tx")
	if diff := cmp.Diff(1, len(left)); diff != "" || err != nil {
		t.Errorf("%v %v", left, err)
	}
}
