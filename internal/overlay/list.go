// SPDX-License-Identifier: Apache-2.0

package overlay

import "fmt"

// Listed is an overlay of this mount name space, once for all of its mounts.
type Listed struct {
	Mount           // the first that shows all of it, if one does
	Others []string // where else it is mounted
}

// List lists the overlays of this mount name space, in the kernel's order.
func List() ([]Listed, error) {
	mounts, err := Mounts()
	if err != nil {
		return nil, err
	}
	return distinct(mounts), nil
}

func distinct(mounts []Mount) []Listed {
	var all []Listed
	index := map[uint64]int{}
	for _, m := range mounts {
		i, seen := index[m.Dev]
		if !seen {
			index[m.Dev] = len(all)
			all = append(all, Listed{Mount: m})
			continue
		}
		l := &all[i]
		other := m.Point
		if m.Root == "/" && l.Root != "/" {
			other, l.Mount = l.Point, m
		}
		l.Others = append(l.Others, other)
	}
	return all
}

// OpenListed opens an overlay that was listed. Its mount point leads elsewhere
// where something else is mounted over it.
func OpenListed(l Listed, opts Options) (*Overlay, error) {
	for _, point := range append([]string{l.Point}, l.Others...) {
		o, err := Open(point, opts)
		if err != nil {
			continue
		}
		if o.Mount.Dev == l.Dev {
			return o, nil
		}
		_ = o.Close()
	}
	return nil, fmt.Errorf("open the overlay on %q: %w", l.Point, errCovered)
}
