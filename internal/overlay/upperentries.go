// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"slices"
)

// UpperEntry is what the upper holds under a name of a merged directory.
type UpperEntry struct {
	Name     string
	Whiteout bool
	IsDir    bool
	HasLower bool // a lower layer has the name, too
}

// UpperEntries lists what the upper holds in a directory of the merged view,
// which is named by its path there. It changes nothing.
func (o *Overlay) UpperEntries(dir string) (entries []UpperEntry, err error) {
	if err := (&restorer{Overlay: o}).reachAll(); err != nil {
		return nil, err
	}
	at, err := o.resolve(dir)
	if err != nil {
		return nil, err
	}
	layers := o.layers()
	d, err := layers.dirAt(at.rel)
	if err != nil || !d.inUpper {
		return nil, err
	}
	open, err := layers.open(d)
	if err != nil {
		return nil, err
	}
	defer open.close()
	names, err := readNames(open.upper)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	for _, name := range names {
		up, found, upErr := open.upperEntry(name)
		_, hasLower, lowErr := open.lowerEntry(name)
		if err := errors.Join(upErr, lowErr); err != nil {
			return nil, err
		}
		if found {
			entries = append(entries, UpperEntry{name, up.whiteout, up.isDir(), hasLower})
		}
	}
	return entries, nil
}
