// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
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

// eachOverlay opens the overlays that are named, or all but those of exclude, and
// calls do for each that has an upper; do closes it. What fails is said, and does
// not stop the others; failed is how many did.
func eachOverlay(
	ctx context.Context, out *printer, args []string, all bool, exclude []string, do func(name string, o *overlay.Overlay) error,
) (failed int, err error) {
	overlays, err := choose(args, all)
	if err != nil {
		return 0, err
	}
	for _, c := range overlays {
		switch {
		case ctx.Err() != nil:
			return failed, context.Cause(ctx)
		case c.err == nil && c.Config.Upper.IsZero():
		case len(args) == 0 && slices.Contains(exclude, c.Point):
		default:
			o, err := c.open()
			if err == nil {
				err = do(c.name(), o)
			}
			failed += out.failedOn(c.name(), err)
		}
	}
	return failed, nil
}

// failedOn says what failed on an overlay, unless that was said, and returns how
// many did: 0 for none.
func (p *printer) failedOn(name string, err error) int {
	if err == nil {
		return 0
	}
	if !errors.As(err, new(*failedError)) {
		p.failure(name, err)
	}
	return 1
}

// ended is how a command ends after failures that were said.
func ended(failed int, err error) error {
	if err == nil && failed > 0 {
		err = &failedError{}
	}
	return err
}

func completeMounts(_ *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	return complete(nil, toComplete, false)
}
