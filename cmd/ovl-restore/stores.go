// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ovl-restore/ovl-restore/internal/journal"
	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

// storeFlags say whose transactions log and undo are about.
type storeFlags struct {
	all       bool
	upper     string
	userxattr bool
	json      bool
	quiet     bool
}

func (f *storeFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&f.all, "all", false, "also those of container runtimes")
	flags.StringVar(&f.upper, "upper", "", "of an overlay that is not mounted: its upper directory `DIR`")
	flags.BoolVar(&f.userxattr, "userxattr", false, "it is mounted with userxattr")
	flags.BoolVar(&f.json, "json", false, "print one JSON object a line")
}

// journaled is an overlay whose store is looked at.
type journaled struct {
	name      string
	overlay   *overlay.Overlay
	unmounted *overlay.Unmounted
	site      *overlay.Site
}

func (j *journaled) Close() error {
	if j.overlay != nil {
		return j.overlay.Close()
	}
	return j.unmounted.Close()
}

// path is where users see an entry.
func (j *journaled) path(rel string) string {
	if j.overlay == nil {
		return filepath.Join(j.name, rel)
	}
	if path, ok := j.overlay.PathOf(rel); ok {
		return path
	}
	return rel
}

// rel is where on the overlay a path lies.
func (j *journaled) rel(path string) (string, error) {
	if j.overlay != nil {
		return j.overlay.Rel(path)
	}
	rel, err := filepath.Rel(j.name, path)
	if err != nil || !filepath.IsLocal(rel) {
		return "", &usageError{fmt.Errorf("PATH %s is not below --upper", quotePath(path))}
	}
	return rel, nil
}

// view opens the store for reading; nil where there is none.
func (j *journaled) view() (*journal.Store, error) {
	stores, err := storePlace()
	if err != nil {
		return nil, err
	}
	s, err := stores.View(j.site.Upper())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return s, err
}

func newJournaled(name string, o *overlay.Overlay, err error) (*journaled, error) {
	if err != nil {
		return nil, err
	}
	site, err := o.Site()
	if err != nil {
		return nil, errors.Join(err, o.Close())
	}
	return &journaled{name: name, overlay: o, site: site}, nil
}

func (f *storeFlags) openUnmounted() (*journaled, error) {
	u, err := overlay.OpenUnmounted(overlay.Directories{Upper: f.upper}, overlay.LayerOptions{UserXattr: f.userxattr})
	if err != nil {
		return nil, err
	}
	name, err := filepath.Abs(f.upper)
	if err != nil {
		return nil, errors.Join(err, u.Close())
	}
	return &journaled{name: name, unmounted: u, site: u.Site()}, nil
}

// each calls do for each overlay with an upper: those that are named, or all.
// What fails is said, and does not stop the others.
func (f *storeFlags) each(ctx context.Context, out *printer, args []string, do func(*journaled) error) error {
	if f.upper != "" {
		j, err := f.openUnmounted()
		if err == nil {
			err = errors.Join(do(j), j.Close())
		}
		return ended(out.failedOn(f.upper, err), nil)
	}
	return ended(eachOverlay(ctx, out, args, f.all, nil, func(name string, o *overlay.Overlay) error {
		j, err := newJournaled(name, o, nil)
		if err != nil {
			return err
		}
		return errors.Join(do(j), j.Close())
	}))
}

// isTx tells the ID of a transaction, or its number, from a path.
func isTx(arg string) bool {
	return arg != "" && '0' <= arg[0] && arg[0] <= '9' && !strings.Contains(arg, "/")
}

// resume rolls back what a crash cut off, before anything is looked at.
func resume(ctx context.Context, out *printer, wait bool, site *overlay.Site) (err error) {
	upper := site.Upper()
	stores, err := storePlace()
	if err != nil {
		return err
	}
	view, err := stores.View(upper)
	if err != nil {
		return nil
	}
	open, err := view.Interrupted()
	if err = errors.Join(err, view.Close()); err != nil || !open {
		return err
	}
	store, err := storeOpener(ctx, out, wait)(upper)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	return resumeIn(ctx, out, store, site)
}

func resumeIn(ctx context.Context, out *printer, store *journal.Store, site *overlay.Site) error {
	resumed, err := store.Resume(ctx, site)
	for _, r := range resumed {
		left := 0
		for _, res := range r.Results {
			if res.Err != nil {
				left++
			}
		}
		note := "the transaction " + r.ID + " had been interrupted: rolled back"
		if left > 0 {
			note += ", but for " + plural(left, "path", "paths") + " that changed since; see ovl-restore log " + r.ID
		}
		out.note(note)
	}
	return err
}
