// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// MissingError says that something is not in a store: errors.Is ENOENT, and so
// os.ErrNotExist.
type MissingError struct {
	What string
}

func (e *MissingError) Error() string { return e.What }

// Unwrap returns ENOENT.
func (e *MissingError) Unwrap() error { return unix.ENOENT }

// ErrNothingToUndo says that a store has no transaction that could be undone.
var ErrNothingToUndo error = &MissingError{"there is no transaction to undo"}

// Find completes the ID of a transaction: its beginning, or its number without
// the zeros before it, does. Of several it is the newest. The error is
// a *MissingError where there is none.
func (s *Store) Find(id string) (string, error) {
	ids, err := s.ids()
	if err != nil {
		return "", err
	}
	for _, full := range ids {
		if full == id {
			return full, nil
		}
	}
	for _, full := range ids {
		number, _, _ := strings.Cut(strings.TrimLeft(full, "0"), "-")
		if number == id || strings.HasPrefix(full, id) {
			return full, nil
		}
	}
	return "", &MissingError{fmt.Sprintf("the store %q has no transaction %q", s.path, id)}
}

// Newest is the newest transaction that is not undone, and no undo itself, and did
// something at one of the paths, or anywhere if there are none. The error is
// ErrNothingToUndo where there is none.
func (s *Store) Newest(paths []string) (string, error) {
	infos, err := s.Transactions()
	if err != nil {
		return "", err
	}
	for _, info := range infos {
		if info.State != StateDone || info.Kind == KindUndo {
			continue
		}
		entries, err := s.Entries(info.ID)
		if err != nil {
			return "", err
		}
		for _, e := range entries {
			if !e.Undone && isAtOrBelowAny(e.Path, paths) {
				return info.ID, nil
			}
		}
	}
	return "", ErrNothingToUndo
}

func isAtOrBelowAny(rel string, paths []string) bool {
	for _, p := range paths {
		if isAtOrBelow(rel, p) {
			return true
		}
	}
	return len(paths) == 0
}
