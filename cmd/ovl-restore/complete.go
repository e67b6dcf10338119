// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

// complete offers mount points of overlays for MNT. For PATH it offers what no
// shell can see: the names that whiteouts hide, and the directories that may have
// more of them; with discard also the entries that shadow the lower's.
func complete(args []string, toComplete string, discard bool) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return completePath(args[0], toComplete, discard)
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

// completePath leaves it to the shell where it has nothing to offer, or is not
// allowed to look.
func completePath(mnt, toComplete string, discard bool) ([]string, cobra.ShellCompDirective) {
	o, err := overlay.Open(mnt, overlay.Options{})
	if err != nil {
		return nil, cobra.ShellCompDirectiveDefault
	}
	defer func() { _ = o.Close() }() // it was only read
	cut := strings.LastIndexByte(toComplete, '/') + 1
	dir, prefix := toComplete[:cut], toComplete[cut:]
	in := dir
	if in == "" {
		in = "."
	}
	entries, err := o.UpperEntries(in)
	if err != nil && toComplete == "" { // the working directory is elsewhere
		dir = strings.TrimRight(mnt, "/") + "/"
		entries, err = o.UpperEntries(dir)
	}
	if err != nil {
		return nil, cobra.ShellCompDirectiveDefault
	}
	var offers []string
	directive := cobra.ShellCompDirectiveDefault
	for _, e := range entries {
		name := dir + e.Name
		switch {
		case !strings.HasPrefix(e.Name, prefix), quotePath(name) != name: // a shell would take it for two
		case e.IsDir:
			offers = append(offers, name+"/")
			directive = cobra.ShellCompDirectiveNoSpace
		case !e.HasLower:
		case e.Whiteout:
			offers = append(offers, cobra.CompletionWithDesc(name, "deleted"))
		case discard:
			offers = append(offers, cobra.CompletionWithDesc(name, "changed"))
		}
	}
	return offers, directive
}
