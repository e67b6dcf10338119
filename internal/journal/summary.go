// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Summary is what a store holds.
type Summary struct {
	Path         string // of the store
	Transactions int
	Open         int   // of these, begun and not done: in work, or cut off
	Bytes        int64 // the room that all of them take
	Oldest       time.Time
	Newest       time.Time // when they began; zero where there is none
}

// Summarize looks at the store beside an upper directory, and neither makes nor
// locks it. The error is os.ErrNotExist where there is none, and Open has the
// meaning of its arguments.
func Summarize(upper *os.File, path string) (Summary, error) {
	parent, name, err := locate(upper, path)
	if err != nil {
		return Summary{}, err
	}
	defer func() { _ = parent.Close() }()
	s := Summary{Path: filepath.Join(filepath.Dir(path), name+Suffix)}
	dir, err := openAt(parent, name+Suffix, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return s, fmt.Errorf("open the store: %w", err)
	}
	defer func() { _ = dir.Close() }()
	// Through descriptors: the path may lead elsewhere by now.
	all, err := openAt(dir, "tx", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("read the store: %w", err)
	}
	defer func() { _ = all.Close() }()
	root := procPath(all, "")
	ids, err := all.ReadDir(-1)
	if err != nil {
		return s, fmt.Errorf("read the store: %w", err)
	}
	for _, id := range ids {
		if !id.IsDir() || strings.HasPrefix(id.Name(), ".") {
			continue
		}
		s.Transactions++
		began, done := beganAndDone(filepath.Join(root, id.Name(), "log.jsonl"))
		if !done {
			s.Open++
		}
		if !began.IsZero() && (s.Oldest.IsZero() || began.Before(s.Oldest)) {
			s.Oldest = began
		}
		if began.After(s.Newest) {
			s.Newest = began
		}
		n, err := room(all, id.Name())
		if err != nil {
			return s, fmt.Errorf("measure the transaction %s: %w", id.Name(), err)
		}
		s.Bytes += n
	}
	return s, nil
}

// beganAndDone says when a transaction began, and whether it is done. A log that was
// cut off is that of an open one.
func beganAndDone(path string) (began time.Time, done bool) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return began, false
	}
	defer func() { _ = f.Close() }()
	for r := bufio.NewReader(f); ; {
		line, err := r.ReadBytes('\n')
		var rec record
		if json.Unmarshal(bytes.TrimSpace(line), &rec) == nil {
			if began.IsZero() {
				began = rec.Time
			}
			done = done || rec.Op == OpDone || rec.Op == OpBack
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				return began, false
			}
			return began, done
		}
	}
}
