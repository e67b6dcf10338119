// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"errors"
	"os"
	"time"

	"github.com/ovl-restore/ovl-restore/internal/journal"
	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

// Status is what a store remembers of reconciling.
type Status struct {
	Image     string    // that the upper was fitted to
	Time      time.Time // when
	Confirmed bool      // the image is known to be good
	// Interrupted: it was being fitted to another image, and that was cut off, or
	// something failed.
	Interrupted bool
	Pending     []string // entries, from the overlay's root, with the image's version beside them
	Queued      int      // requests that wait for the next run
}

// Look reads the status of an upper; nil where there was never a run.
func Look(layers *overlay.Layers, stores journal.Place) (_ *Status, err error) {
	store, err := stores.View(layers.Upper())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	st, err := readState(store)
	if err != nil {
		return nil, err
	}
	queue, err := store.Files(queueDir)
	if err != nil || st.Image == "" && len(queue) == 0 {
		return nil, err
	}
	s := &Status{Image: st.Image, Time: st.Time, Confirmed: st.Confirmed, Interrupted: st.Trying != "", Queued: len(queue)}
	from := side{layers.UpperReader()}
	defer from.Close()
	for _, rel := range st.Pending {
		v, err := from.version(string(rel) + BesideSuffix)
		if err != nil {
			return nil, err
		}
		if v.Exists() {
			s.Pending = append(s.Pending, string(rel))
		}
	}
	return s, nil
}
