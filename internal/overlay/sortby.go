// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"reflect"
	"sort"
)

// sortBy sorts a slice by a function of two indexes, and keeps the order of what is
// equal. It is one function for all types, where slices.SortFunc adds 8 KB to the
// program for each; it is not for what has to be fast.
func sortBy(slice any, less func(i, j int) bool) {
	sort.Stable(bySwapping{reflect.ValueOf(slice).Len(), less, reflect.Swapper(slice)})
}

type bySwapping struct {
	n    int
	less func(i, j int) bool
	swap func(i, j int)
}

func (s bySwapping) Len() int           { return s.n }
func (s bySwapping) Less(i, j int) bool { return s.less(i, j) }
func (s bySwapping) Swap(i, j int)      { s.swap(i, j) }
