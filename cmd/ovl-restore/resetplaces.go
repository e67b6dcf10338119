// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/config"
	"github.com/ovl-restore/ovl-restore/internal/journal"
	"github.com/ovl-restore/ovl-restore/internal/overlay"
	"github.com/ovl-restore/ovl-restore/internal/reset"
)

// layerFlags name the directories of one overlay that is not mounted.
type layerFlags struct {
	lower, upper, work, mount string
}

func (l *layerFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&l.upper, "upper", "", "of an overlay that is not mounted: its upper directory `DIR`")
	flags.StringVar(&l.work, "work", "", "its work directory `DIR`")
	flags.StringVar(&l.lower, "lower", "", "`LOWER[:LOWER…]`, topmost first, for the attributes of directories")
	flags.StringVar(&l.mount, "mount", "/", "where it will be mounted, which the keep list goes by")
}

func (l *layerFlags) validate(args []string) error {
	switch {
	case l.upper == "" && (l.work != "" || l.lower != ""):
		return errors.New("--work and --lower go with --upper")
	case l.upper != "" && len(args) > 0:
		return errors.New("give MNT, or --upper for an overlay that is not mounted")
	}
	return nil
}

func (l *layerFlags) overlay() reset.Overlay {
	o := reset.Overlay{Mount: l.mount, Upper: l.upper, Work: l.work}
	if l.lower != "" {
		o.Lowers = strings.Split(l.lower, ":")
	}
	return o
}

// errNoResetOverlay: nothing says which overlays there are.
var errNoResetOverlay = errors.New("no overlay is known here")

// livePlaces opens the places of overlays of the running system: those that are
// named, else those of the configuration, else all that are mounted with an
// upper and are of no container runtime.
func livePlaces(l *layerFlags, args []string) ([]*reset.Place, error) {
	if l.upper != "" {
		return openPlaces([]reset.Overlay{l.overlay()})
	}
	var places []*reset.Place
	add := func(p *reset.Place, err error) error {
		if err != nil {
			closePlaces(places)
			return err
		}
		places = append(places, p)
		return nil
	}
	if len(args) == 0 {
		c, err := config.Load(config.Default)
		if err != nil {
			return nil, err
		}
		for _, o := range c.Overlays {
			if err := add(configuredPlace(o)); err != nil {
				return nil, err
			}
		}
	}
	if len(places) > 0 {
		return places, nil
	}
	chosen, err := choose(args, false)
	if err != nil {
		return nil, err
	}
	for _, c := range chosen {
		if c.err == nil && len(args) == 0 && c.Config.Upper.IsZero() {
			continue
		}
		if err := add(mountedPlace(c)); err != nil {
			return nil, err
		}
	}
	if len(places) == 0 {
		return nil, errNoResetOverlay
	}
	return places, nil
}

// configuredPlace opens the place of an overlay of the configuration, through
// its mount where it is mounted: its upper may not be seen any more.
func configuredPlace(o config.Overlay) (*reset.Place, error) {
	if m, err := overlay.Find(o.Mount); err == nil && m.Point == o.Mount {
		if p, err := mountedPlace(chosen{Listed: overlay.Listed{Mount: m}, arg: o.Mount}); err == nil {
			return p, nil
		}
	}
	return reset.Open(fromConfig(o))
}

func fromConfig(o config.Overlay) reset.Overlay {
	return reset.Overlay{Mount: o.Mount, Lowers: o.Lower, Upper: o.Upper, Work: o.Work}
}

func mountedPlace(c chosen) (_ *reset.Place, err error) {
	o, err := c.open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	upper, err := o.Upper()
	if err != nil {
		return nil, err
	}
	return reset.OpenAt(upper.Root(), reset.Overlay{Mount: o.Mount.Point, Upper: upper.Where, Work: o.Mount.Config.Work.Path, Store: journal.StoreName(upper.Path)})
}

// bootPlaces opens the places of the overlays of a system whose root is root,
// before they are mounted: of the flags, else of the configuration, else of fstab
// and the mount units.
func bootPlaces(l *layerFlags, root string) ([]reset.Overlay, []*reset.Place, error) {
	overlays, err := bootOverlays(l, root)
	if err != nil {
		return nil, nil, err
	}
	if len(overlays) == 0 {
		return nil, nil, errNoResetOverlay
	}
	places, err := openPlaces(overlays)
	return overlays, places, err
}

func bootOverlays(l *layerFlags, root string) ([]reset.Overlay, error) {
	if l.upper != "" {
		return []reset.Overlay{l.overlay()}, nil
	}
	c, err := config.Load(config.Default.Below(root))
	if err != nil {
		return nil, err
	}
	var overlays []reset.Overlay
	for _, o := range c.Overlays {
		overlays = append(overlays, fromConfig(o).Below(root))
	}
	if len(overlays) > 0 {
		return overlays, nil
	}
	overlays, err = reset.FromFstab(root)
	if err != nil {
		return nil, fmt.Errorf("read fstab: %w", err)
	}
	units, err := reset.FromUnits(root)
	return append(overlays, units...), err
}

func openPlaces(overlays []reset.Overlay) ([]*reset.Place, error) {
	var places []*reset.Place
	for _, o := range overlays {
		p, err := reset.Open(o)
		if err != nil {
			closePlaces(places)
			return nil, err
		}
		places = append(places, p)
	}
	return places, nil
}

// closePlaces releases places that were only looked at, or whose changes are on
// disk.
func closePlaces(places []*reset.Place) {
	for _, p := range places {
		_ = p.Close()
	}
}

// keepList puts together what is kept: the keep lists, the configuration and the
// flags.
func keepList(lists func() ([]string, error), c *config.Config, more []string, none bool) ([]string, error) {
	if none {
		return nil, nil
	}
	all, err := lists()
	if err != nil {
		return nil, err
	}
	all = append(append(all, c.Reset.Keep...), more...)
	for _, p := range all {
		if err := reset.CheckPattern(p); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// readCommandLine reads the kernel's command line; a system without /proc has
// none.
func readCommandLine(path string) (string, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && path == procCmdline || errors.Is(err, unix.EPERM) {
		return "", nil
	}
	return string(data), err
}

const procCmdline = "/proc/cmdline"
