// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTransactions(t *testing.T) {
	upper, path := upperDir(t)
	s, err := Open(upper, path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if infos, err := s.Transactions(); err != nil || len(infos) > 0 {
		t.Fatalf("%v, %v", infos, err)
	}
	intents := []Intent{
		{Kind: KindReconcile, Overlay: "/etc", From: "1", To: "2"},
		{Kind: KindUndo, Overlay: "/a\nb", Undoes: "x"},
		{Kind: KindRestore, Note: "open"},
	}
	var want []string
	for i, intent := range intents {
		tx, err := s.Begin(intent)
		if err != nil {
			t.Fatal(err)
		}
		want = append([]string{tx.ID}, want...)
		for n := range i {
			if err := errors.Join(tx.Created("\xffmade"), tx.Note("opaque", "d")); err != nil {
				t.Fatal(n, err)
			}
		}
		if i < 2 {
			err = tx.Done()
		} else {
			err = tx.close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	infos, err := s.Transactions()
	if err != nil || len(infos) != 3 {
		t.Fatalf("%v, %v", infos, err)
	}
	for i, info := range infos { // the newest first
		n := 2 - i
		state := StateDone
		if n == 2 {
			state = StateOpen
		}
		if info.ID != want[i] || info.Intent != intents[n] || info.State != state || info.Entries != 2*n || time.Since(info.Began) > time.Minute {
			t.Errorf("%+v, want %s", info, want[i])
		}
	}
}

func TestEntries(t *testing.T) {
	upper, path := upperDir(t)
	s, tx := begin(t, upper, path)
	defer s.Close()
	if err := os.WriteFile(filepath.Join(path, "f"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	where, err := tx.Move(int(openPathOnly(t, path).Fd()), "f", "d/f")
	if err := errors.Join(err, tx.Note("opaque", "a\nb"), tx.Created("\xffmade"), tx.Done()); err != nil {
		t.Fatal(err)
	}
	want := []Entry{
		{Op: OpMove, Path: "d/f", Backup: where},
		{Op: OpNote, What: "opaque", Path: "a\nb"},
		{Op: OpCreated, Path: "\xffmade"},
	}
	got, err := s.Entries(tx.ID)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	for _, id := range []string{"", "..", "../tx", "1"} {
		if _, err := s.Entries(id); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%q: %v, want ErrNotExist", id, err)
		}
	}
}

// Wherever a power cut ends the log, the lines before it count.
func TestLogCutOff(t *testing.T) {
	upper, path := upperDir(t)
	s, tx := begin(t, upper, path)
	defer s.Close()
	if err := errors.Join(tx.Created("one"), tx.Created("two\n"), tx.Done()); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(path+Suffix, "tx", tx.ID, "log.jsonl")
	whole, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for cut := range len(whole) + 1 {
		if cut > 0 && whole[cut-1] == '\n' {
			lines++
		}
		if err := os.WriteFile(log, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		infos, err := s.Transactions()
		if err != nil || len(infos) != 1 {
			t.Fatalf("cut at %d: %v, %v", cut, infos, err)
		}
		entries, state := min(max(lines-1, 0), 2), StateOpen
		if lines == 4 {
			state = StateDone
		}
		if infos[0].Entries != entries || infos[0].State != state {
			t.Errorf("cut at %d: %+v, want %d entries, %s", cut, infos[0], entries, state)
		}
	}
}

// The order is that of the work, whatever the clock says.
func TestClockGoesBack(t *testing.T) {
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	now := time.Now()
	var made []string
	for _, at := range []time.Time{now, now.AddDate(-50, 0, 0), now, now.AddDate(1, 0, 0), {}} {
		id, err := newID(dir, at)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(dir.Name(), id), 0o700); err != nil {
			t.Fatal(err)
		}
		made = append([]string{id}, made...)
	}
	if err := os.Mkdir(filepath.Join(dir.Name(), "20261125T000000Z-abc"), 0o700); err != nil { // of an old version
		t.Fatal(err)
	}
	ids, err := readIDs(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range made {
		if ids[i] != id {
			t.Errorf("%d: %s, want %s", i, ids[i], id)
		}
	}
	if id, err := newID(dir, now); err != nil || sequence(id) != 6 {
		t.Errorf("the next is %s, %v", id, err)
	}
}
