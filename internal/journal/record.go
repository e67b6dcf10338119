// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// Op is what a line of a log tells of.
type Op string

// The operations. Each line is on disk before its operation begins.
const (
	OpBegin   Op = "begin"
	OpLink    Op = "link"    // a hard link of an upper entry is kept; the entry is dropped
	OpMove    Op = "move"    // an upper entry is taken away into the backup
	OpCopy    Op = "copy"    // a copy is kept, for the store is elsewhere; the entry is dropped
	OpNote    Op = "note"    // something without an entry of its own is dropped: see What
	OpCreated Op = "created" // an entry is made that was not there
	OpAttr    Op = "attr"    // attributes of an entry are changed: Attr is what they were
	OpPut     Op = "put"     // by undo: an entry of another backup is put back
	OpSet     Op = "set"     // by undo: what a note told of is put back
	OpMade    Op = "made"    // no operation: how something that was made looks at the end
	OpBack    Op = "back"    // the end of one that was rolled back
	OpDone    Op = "done"
)

// isStep says whether a line tells of something that was done to the upper.
func (op Op) isStep() bool {
	switch op {
	case OpBegin, OpMade, OpBack, OpDone:
		return false
	default:
		return true
	}
}

// record is one line of log.jsonl.
type record struct {
	Op     Op        `json:"op"`
	Time   time.Time `json:"time"`
	Intent *Intent   `json:"intent,omitempty"` // of begin
	N      int       `json:"n,omitempty"`      // the entry's name in backup/
	What   string    `json:"what,omitempty"`   // of a note: opaque, whiteout, impure
	Path   string    `json:"path,omitempty"`   // from the overlay's root
	Bytes  []byte    `json:"bytes,omitempty"`  // the path where it is not UTF-8 (base64)
	// Of an undo, and of made: which line it is about, from 0, in which log.
	Tx   string      `json:"tx,omitempty"` // "" for its own
	I    int         `json:"i,omitempty"`
	Is   *identity   `json:"is,omitempty"`
	Attr *attributes `json:"attr,omitempty"`
}

// withPath names an entry by its path from the overlay's root.
func (r record) withPath(rel string) record {
	r.Path, r.Bytes = rel, nil
	if !utf8.ValidString(rel) {
		r.Path, r.Bytes = "", []byte(rel)
	}
	return r
}

// rel is the path that withPath was given.
func (r *record) rel() string {
	if r.Bytes != nil {
		return string(r.Bytes)
	}
	return r.Path
}

// readLog reads the log of a transaction. A power cut can leave a line that is
// cut off: what it tells of has not begun, so it is left out.
func readLog(tx *os.File) ([]record, error) {
	f, err := openAt(tx, "log.jsonl", unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	var all []record
	for r := bufio.NewReader(f); ; {
		line, err := r.ReadBytes('\n')
		var rec record
		if err == nil && json.Unmarshal(bytes.TrimSpace(line), &rec) == nil {
			all = append(all, rec)
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return all, err
		}
	}
}
