// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/spf13/cobra"

	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

// complete offers mount points of overlays for MNT. For PATH the shell's own file
// names have to do, since what is hidden has none.
func complete(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	mounts, err := overlay.Mounts()
	if err != nil {
		return nil, cobra.ShellCompDirectiveDefault
	}
	points := make([]string, len(mounts))
	for i, m := range mounts {
		points[i] = m.Point
	}
	return points, cobra.ShellCompDirectiveDefault
}
