// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/ovl-restore/ovl-restore/internal/journal"
	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

const undoHelp = `Bring back what a transaction dropped from an upper, and take away what it made.

TX is the ID of a transaction as ovl-restore log shows it, or its number; without
it, the newest one that is not undone. With PATH, only what was done there and
below; a mount point means all of its overlay, and says which one is meant where
there are several.

A path that somebody changed since stays as it is, and is a failure. An undo is
a transaction itself: undo it to have its effect gone.

Exit status:
  0  all done
  1  something was not brought back; each failure is on its own line
  2  the command line was not understood`

const undoExample = `  # the last one was a mistake
  ovl-restore undo

  # one file of another one
  ovl-restore undo 12 /etc/ssl/openssl.cnf

  # of an overlay that is not mounted
  ovl-restore undo --upper /data/etc/upper 12`

// undoFlags are the flags of undo.
type undoFlags struct {
	storeFlags
	dryRun bool
	wait   bool
}

func newUndo(out *printer) *cobra.Command {
	var f undoFlags
	cmd := &cobra.Command{
		Use:     "undo [flags] [TX] [PATH…]",
		Short:   "Bring back what was dropped",
		Long:    undoHelp,
		Example: undoExample,
		RunE: func(cmd *cobra.Command, args []string) error {
			out.json, out.quiet = f.json, f.quiet
			return printed(out, runUndo(cmd.Context(), out, &f, args))
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVarP(&f.dryRun, "dry-run", "n", false, "change nothing, say what would be done")
	f.add(cmd)
	flags.BoolVar(&f.wait, "wait", false, "wait for another ovl-restore that is changing the overlay")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "print failures only")
	return cmd
}

func runUndo(ctx context.Context, out *printer, f *undoFlags, args []string) (err error) {
	tx := ""
	if len(args) > 0 && isTx(args[0]) {
		tx, args = args[0], args[1:]
	}
	paths, err := absolute(args)
	if err != nil {
		return err
	}
	j, err := f.open(ctx, out, tx, paths)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	rels := make([]string, len(paths))
	for i, path := range paths {
		if rels[i], err = j.rel(path); err != nil {
			return err
		}
	}
	return undoIn(ctx, out, f, j, tx, rels)
}

// open opens the overlay that is meant.
func (f *undoFlags) open(ctx context.Context, out *printer, tx string, paths []string) (*journaled, error) {
	if f.upper != "" {
		return f.openUnmounted()
	}
	if len(paths) > 0 {
		// It may be deleted, and so may what is above it.
		path := paths[0]
		for {
			_, err := os.Lstat(path)
			if err == nil || path == "/" {
				break
			}
			path = filepath.Dir(path)
		}
		o, err := overlay.Open(path, overlay.Options{})
		return newJournaled(path, o, err)
	}
	var points []string
	err := f.each(ctx, out, nil, func(j *journaled) (err error) {
		s, err := j.view()
		if s == nil || err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.Close()) }()
		if tx == "" {
			_, err = s.Newest(nil)
		} else {
			_, err = s.Find(tx)
		}
		if err == nil {
			points = append(points, j.name)
		}
		if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case len(points) > 1:
		return nil, &severalError{points}
	case len(points) == 0 && tx == "":
		return nil, journal.ErrNothingToUndo
	case len(points) == 0:
		return nil, &journal.MissingError{What: "there is no transaction " + strconv.Quote(tx)}
	}
	o, err := overlay.Open(points[0], overlay.Options{})
	return newJournaled(points[0], o, err)
}

// severalError: a transaction is on several overlays.
type severalError struct{ points []string }

func (e *severalError) Error() string { return "there are such transactions on several overlays" }

func undoIn(ctx context.Context, out *printer, f *undoFlags, j *journaled, tx string, rels []string) (err error) {
	var store *journal.Store
	if f.dryRun {
		if store, err = j.view(); store == nil && err == nil {
			err = journal.ErrNothingToUndo
		}
	} else {
		store, err = storeOpener(ctx, out, f.wait)(j.site.Upper())
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if !f.dryRun {
		if err := resumeIn(ctx, out, store, j.site); err != nil {
			return err
		}
	}
	var id string
	if tx == "" {
		id, err = store.Newest(rels)
	} else {
		id, err = store.Find(tx)
	}
	if err != nil {
		return err
	}
	done, err := store.Undo(ctx, j.site, id, journal.UndoOptions{Paths: rels, DryRun: f.dryRun})
	out.undone(j, id, done)
	if err != nil {
		return err
	}
	if !f.dryRun {
		out.prune(store)
	}
	for _, r := range done.Results {
		if r.Err != nil {
			return &failedError{}
		}
	}
	return nil
}

// jsonUndone is an object of undo: what became of one path.
type jsonUndone struct {
	jsonPath
	Status string `json:"status"` // done, planned, busy or failed
	// Action is put-back, take-away, opaque, merge, whiteout, attributes or none.
	Action string     `json:"action,omitempty"`
	Undoes string     `json:"undoes"`                // the transaction
	Tx     string     `json:"transaction,omitempty"` // the undo, which is one itself
	Error  *jsonError `json:"error,omitempty"`
}

// undone prints what became of each path.
func (p *printer) undone(j *journaled, id string, done journal.Undone) {
	for _, r := range done.Results {
		path := j.path(r.Path)
		switch {
		case p.json:
			o := jsonUndone{jsonPath: newJSONPath(path), Status: string(r.Status), Action: string(r.Action), Undoes: id, Tx: done.Tx}
			if r.Err != nil {
				o.Error = newJSONError(r.Err)
			}
			p.object(o)
		case r.Err != nil:
			p.failure(path, r.Err)
		case !p.quiet:
			p.line(undoneSentence(r, quotePath(path)))
		}
	}
	if len(done.Results) == 0 && !p.json && !p.quiet {
		p.line("nothing to undo in " + id)
	}
}

func undoneSentence(r journal.Result, path string) string {
	words := map[journal.Action][2]string{
		journal.ActPutBack:    {"put back ", "would put back "},
		journal.ActTakeAway:   {"took away ", "would take away "},
		journal.ActOpaque:     {"made opaque ", "would make opaque "},
		journal.ActMerge:      {"merged ", "would merge "},
		journal.ActWhiteout:   {"deleted again ", "would delete again "},
		journal.ActAttributes: {"put back the attributes of ", "would put back the attributes of "},
	}[r.Action]
	if r.Status == overlay.StatusPlanned {
		return words[1] + path
	}
	return words[0] + path
}
