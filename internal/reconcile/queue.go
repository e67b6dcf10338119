// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/journal"
	"github.com/ovl-restore/ovl-restore/internal/overlay"
	"github.com/ovl-restore/ovl-restore/internal/pkglist"
)

// queueDir is where the store keeps what is queued, a file for each request.
const queueDir = "queue"

// queued is a request to bring entries of the image back at the next run.
type queued struct {
	Paths    [][]byte `json:"paths,omitempty"`    // from the overlay's root
	Packages []string `json:"packages,omitempty"` // all that these have
	name     string
}

// Enqueue asks for entries of the image, by their paths from the overlay's root,
// or for all that packages have, to be restored by the next run. The request is on
// disk when it returns.
func Enqueue(t *Target, rels, pkgs []string, open func(*overlay.Layer) (*journal.Store, error)) (err error) {
	store, err := t.openStore(open)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	q := queued{Packages: pkgs}
	for _, rel := range rels {
		q.Paths = append(q.Paths, []byte(rel))
	}
	data, err := json.Marshal(q)
	if err != nil {
		return err
	}
	names, err := store.Files(queueDir)
	if err != nil {
		return err
	}
	last := 0
	for _, name := range names {
		if n, err := strconv.Atoi(name); err == nil {
			last = max(last, n)
		}
	}
	return store.WriteFile(fmt.Sprintf("%s/%06d", queueDir, last+1), append(data, '\n'))
}

func readQueue(store *journal.Store) ([]queued, error) {
	names, err := store.Files(queueDir)
	if err != nil {
		return nil, err
	}
	var all []queued
	for _, name := range names {
		q := queued{name: queueDir + "/" + name}
		data, err := store.ReadFile(q.name)
		if err == nil {
			err = json.Unmarshal(data, &q)
		}
		if err != nil {
			name = filepath.Join(store.Path(), q.name)
			return nil, fmt.Errorf("read what is queued, %q (move it away to go on without): %w", name, err)
		}
		all = append(all, q)
	}
	return all, nil
}

// emptyQueue removes the requests that were fulfilled. Those that came since are
// not among them.
func (r *run) emptyQueue() error {
	for _, q := range r.queue {
		if err := r.store.Remove(q.name); err != nil {
			return err
		}
	}
	return nil
}

// queuedPaths are the queued entries, and the directories above them: an entry in
// a deleted directory comes back with it.
func (r *run) queuedPaths() (map[string]bool, error) {
	all := map[string]bool{}
	add := func(rel string) {
		for ; rel != "." && rel != "/" && rel != ""; rel = path.Dir(rel) {
			all[rel] = true
		}
	}
	for _, q := range r.queue {
		for _, rel := range q.Paths {
			add(string(rel))
		}
		for _, pkg := range q.Packages {
			if err := r.packagePaths(pkg, add); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// packagePaths adds what a package has on the overlay, by the lists of the image
// that runs now.
func (r *run) packagePaths(pkg string, add func(rel string)) error {
	files, err := pkglist.Files(pkg, nil)
	if errors.Is(err, pkglist.ErrUnknown) {
		return nil // the new image does not have it any more
	}
	for _, file := range files {
		rel, err := r.relOf(file)
		switch {
		case err == nil:
			add(rel)
		case errors.Is(err, unix.EXDEV), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP): // it is elsewhere
		default:
			return err
		}
	}
	return err
}

// relOf says where on the overlay an absolute path is; EXDEV where it is not.
func (r *run) relOf(file string) (string, error) {
	if r.Overlay != nil {
		return r.Overlay.Rel(file)
	}
	if r.Mount == "/" {
		return strings.TrimPrefix(file, "/"), nil
	}
	if rel, ok := strings.CutPrefix(file, r.Mount+"/"); ok {
		return rel, nil
	}
	return "", unix.EXDEV
}
