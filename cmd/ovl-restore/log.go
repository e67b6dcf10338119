// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/ovl-restore/ovl-restore/internal/journal"
)

const logHelp = `Show what was dropped from the uppers of overlays, and why: the transactions of
each overlay, or of those of MNT, the newest first. With TX, the entries of one,
and where their backups are. TX is the ID of a transaction, or its number.

States:
  done         it can be undone
  undone       all of it was brought back; the undo can itself be undone
  open         it is in work, or was cut off: the next run rolls it back
  rolled-back  it was cut off, and what it had done was undone

Exit status:
  0  all was read
  1  something was not
  2  the command line was not understood`

const logExample = `  # what happened on this device
  ovl-restore log

  # the entries of one transaction
  ovl-restore log 12`

func newLog(out *printer) *cobra.Command {
	var f storeFlags
	cmd := &cobra.Command{
		Use:               "log [flags] [MNT…] [TX]",
		Short:             "Show what was dropped from uppers, and where it is kept",
		Long:              logHelp,
		Example:           logExample,
		ValidArgsFunction: completeMounts,
		RunE: func(cmd *cobra.Command, args []string) error {
			out.json = f.json
			return printed(out, runLog(cmd.Context(), out, &f, args))
		},
	}
	cmd.Flags().SortFlags = false
	f.add(cmd)
	return cmd
}

func runLog(ctx context.Context, out *printer, f *storeFlags, args []string) error {
	tx := ""
	if n := len(args) - 1; n >= 0 && isTx(args[n]) {
		args, tx = args[:n], args[n]
	}
	found := false
	err := f.each(ctx, out, args, func(j *journaled) (err error) {
		s, err := j.view()
		if s == nil || err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.Close()) }()
		if tx == "" {
			return out.transactions(j, s)
		}
		id, err := s.Find(tx)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		found = true
		return out.entries(j, s, id)
	})
	if err == nil && tx != "" && !found {
		return &journal.MissingError{What: "there is no transaction " + strconv.Quote(tx)}
	}
	return err
}

// jsonTx is an object of log; see jsonResult for what they have in common.
type jsonTx struct {
	jsonPath           // the mount point, or --upper
	ID       string    `json:"id"`
	Kind     string    `json:"kind"` // restore, repair, reconcile, resolve or undo
	Began    time.Time `json:"began"`
	State    string    `json:"state"` // as log --help lists them
	Entries  int       `json:"entries"`
	Undone   int       `json:"undone"` // of these
	Bytes    int64     `json:"bytes"`  // the room that it takes
	From     string    `json:"from,omitempty"`
	To       string    `json:"to,omitempty"`
	Undoes   string    `json:"undoes,omitempty"`
	Note     string    `json:"note,omitempty"`
}

// jsonEntry is an object of log TX.
type jsonEntry struct {
	jsonPath
	Tx     string `json:"transaction"`
	Op     string `json:"op"`             // link, move, note, created, attr, put or set
	What   string `json:"what,omitempty"` // of note and set: whiteout, opaque or impure
	Backup string `json:"backup,omitempty"`
	Undone bool   `json:"undone"`
}

// transactions prints those of one overlay.
func (p *printer) transactions(j *journaled, s *journal.Store) error {
	infos, err := s.Transactions()
	if err != nil {
		return err
	}
	var rows [][]string
	for i := range infos {
		t := &infos[i]
		if p.json {
			p.object(jsonTx{
				jsonPath: newJSONPath(j.name), ID: t.ID, Kind: string(t.Kind), Began: t.Began, State: string(t.State),
				Entries: t.Entries, Undone: t.Undone, Bytes: t.Bytes, From: t.From, To: t.To, Undoes: t.Undoes, Note: t.Note,
			})
			continue
		}
		rows = append(rows, []string{t.ID, stateWord(t), plural(t.Entries, "entry", "entries"), sizeWord(t.Bytes), whyLine(t)})
	}
	if p.json || len(infos) == 0 {
		return nil
	}
	p.line(quotePath(j.name))
	p.line(columns(rows))
	return nil
}

func stateWord(t *journal.Info) string {
	if t.State == journal.StateDone && t.Undone > 0 {
		return "partly undone"
	}
	return string(t.State)
}

// whyLine says what a transaction was for.
func whyLine(t *journal.Info) string {
	line := string(t.Kind)
	switch {
	case t.Undoes != "":
		line += " of " + t.Undoes
	case t.From != "" && t.To != "":
		line += " from " + quotePath(t.From) + " to " + quotePath(t.To)
	case t.To != "":
		line += " to " + quotePath(t.To)
	}
	if t.Note != "" {
		line += ": " + quotePath(t.Note)
	}
	return line
}

// entries prints what one transaction did.
func (p *printer) entries(j *journaled, s *journal.Store, id string) error {
	entries, err := s.Entries(id)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := j.path(e.Path)
		if p.json {
			p.object(jsonEntry{
				jsonPath: newJSONPath(path), Tx: id, Op: string(e.Op), What: e.What, Backup: e.Backup, Undone: e.Undone,
			})
			continue
		}
		line := entryWord(e) + " " + quotePath(path)
		switch {
		case e.Undone:
			line += ", undone"
		case e.Backup != "":
			line += ", backup " + quotePath(e.Backup)
		}
		p.line(line)
	}
	return nil
}

// entryWord says what was done.
func entryWord(e journal.Entry) string {
	switch {
	case e.Op == journal.OpNote && e.What == "whiteout":
		return "removed the whiteout"
	case e.Op == journal.OpNote && e.What == "opaque":
		return "merged"
	case e.Op == journal.OpSet && e.What == "whiteout":
		return "hid"
	case e.Op == journal.OpSet:
		return "made opaque"
	case e.Op == journal.OpNote:
		return "marked"
	case e.Op == journal.OpCreated:
		return "made"
	case e.Op == journal.OpAttr:
		return "changed the attributes of"
	case e.Op == journal.OpPut:
		return "put back"
	default:
		return "dropped"
	}
}
