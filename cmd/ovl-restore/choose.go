// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

// chosen is an overlay that a command is about.
type chosen struct {
	overlay.Listed
	arg string // as it was named; "" where all were meant
	err error  // why it is none
}

// choose lists the overlays that are named, or else all that are of no container
// runtime; with all those, too.
func choose(args []string, all bool) ([]chosen, error) {
	listed, err := overlay.List()
	if err != nil {
		return nil, err
	}
	if len(args) == 0 {
		var cs []chosen
		for _, l := range listed {
			if all || l.Runtime() == "" {
				cs = append(cs, chosen{Listed: l})
			}
		}
		return cs, nil
	}
	cs := make([]chosen, 0, len(args))
	for _, arg := range args {
		m, err := overlay.Find(arg)
		if err != nil {
			cs = append(cs, chosen{arg: arg, err: wrongMount(err)})
			continue
		}
		cs = append(cs, chooseNamed(listed, m, arg))
	}
	return cs, nil
}

// chooseNamed takes the mount that was named, but where that is a bind of a
// directory and another mount shows all of the overlay.
func chooseNamed(listed []overlay.Listed, m overlay.Mount, arg string) chosen {
	for _, l := range listed {
		switch {
		case l.Dev != m.Dev:
		case m.Root != "/" && l.Root == "/":
			return chosen{Listed: l}
		default:
			points := append([]string{l.Point}, l.Others...)
			points = slices.DeleteFunc(points, func(p string) bool { return p == m.Point })
			return chosen{Listed: overlay.Listed{Mount: m, Others: points}, arg: arg}
		}
	}
	return chosen{Listed: overlay.Listed{Mount: m}, arg: arg}
}

// name is how output calls it.
func (c chosen) name() string {
	if c.err != nil {
		return c.arg
	}
	return c.Point
}

func (c chosen) open() (*overlay.Overlay, error) {
	if c.err != nil {
		return nil, c.err
	}
	if c.arg != "" {
		return overlay.Open(c.arg, overlay.Options{})
	}
	return overlay.OpenListed(c.Listed, overlay.Options{})
}

func completeMounts(_ *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	return complete(nil, toComplete, false)
}
