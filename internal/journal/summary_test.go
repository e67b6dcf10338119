// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestSummarize(t *testing.T) {
	upper, path := upperDir(t)
	if _, err := summarize(upper, path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a store: %v", err)
	}
	if _, err := os.Lstat(path + Suffix); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a store was made: %v", err)
	}

	before := time.Now()
	store, tx := begin(t, upper, path)
	data := make([]byte, 100<<10)
	if err := os.WriteFile(filepath.Join(path, "f"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dir.Close() }()
	if _, err := tx.Move(int(dir.Fd()), "f", "f"); err != nil {
		t.Fatal(err)
	}
	// While it is locked, and the transaction is open.
	got, err := summarize(upper, path)
	if err != nil || got.Path != path+Suffix || got.Transactions != 1 || got.Open != 1 || got.Bytes < int64(len(data)) {
		t.Errorf("%+v, %v", got, err)
	}
	if err := tx.Done(); err != nil {
		t.Fatal(err)
	}
	second, err := store.Begin(Intent{Kind: KindRestore})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(second.Done(), store.Close()); err != nil {
		t.Fatal(err)
	}
	got, err = summarize(upper, path)
	if err != nil || got.Transactions != 2 || got.Open != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	if got.Oldest.Before(before) || got.Newest.Before(got.Oldest) || time.Now().Before(got.Newest) {
		t.Errorf("from %v to %v", got.Oldest, got.Newest)
	}

	// A log that a power cut left half written is that of an open transaction.
	half := filepath.Join(path+Suffix, "tx", "19700101T000000Z-1")
	if err := os.Mkdir(half, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(half, "log.jsonl"), []byte(`{"op":"beg`), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err = summarize(upper, path); err != nil || got.Transactions != 3 || got.Open != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

func summarize(upper *os.File, path string) (Summary, error) {
	s, err := View(upper, path)
	if err != nil {
		return Summary{}, err
	}
	sum, err := s.Summary()
	return sum, errors.Join(err, s.Close())
}
