// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strconv"
	"strings"

	"github.com/ovl-restore/ovl-restore/internal/ioctl"
	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

// printStates prints what the upper holds at each path.
func printStates(o *overlay.Overlay, paths []string, out *printer) error {
	failed := false
	for _, path := range paths {
		st, err := o.State(path)
		if err != nil {
			failed = true
			out.failure(path, err)
			continue
		}
		out.state(path, st)
	}
	if failed {
		return &failedError{}
	}
	return nil
}

// stateFlags are the flags as one word: "-", or names joined by commas.
func stateFlags(flags ioctl.StateFlags) string {
	var names []string
	if flags&ioctl.FlagOpaque != 0 {
		names = append(names, "opaque")
	}
	if flags&ioctl.FlagNoLowerDir != 0 {
		names = append(names, "no-lower-dir")
	}
	if len(names) == 0 {
		return "-"
	}
	return strings.Join(names, ",")
}

// stateMode is the upper entry's mode in octal, "-" where there is none.
func stateMode(st ioctl.UpperState) string {
	if st.State == ioctl.StateNone {
		return "-"
	}
	return strconv.FormatUint(uint64(st.Mode), 8)
}
