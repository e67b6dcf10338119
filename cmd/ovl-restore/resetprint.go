// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/ovl-restore/ovl-restore/internal/reset"
)

// jsonReset is the object of reset status, and of what changes it.
type jsonReset struct {
	// State is none, requested, decided (begun, interrupted, goes on at the next
	// boot) or cleaning.
	State     string       `json:"state"`
	Requested *jsonOrder   `json:"requested,omitempty"`
	Last      *jsonOrder   `json:"last,omitempty"` // the reset that was done last
	Left      *jsonAmount  `json:"left,omitempty"` // for the clean-up
	Ignored   []*jsonError `json:"ignored,omitempty"`
}

type jsonOrder struct {
	By    string     `json:"by"`
	Time  *time.Time `json:"time,omitempty"`
	Done  *time.Time `json:"done,omitempty"`
	Paths []jsonPath `json:"overlays"`
	Keep  []string   `json:"keep"`
	Wipe  bool       `json:"wipe"`
}

type jsonAmount struct {
	Entries int64 `json:"entries"`
	Bytes   int64 `json:"bytes"`
}

// jsonSurvey is an object of reset request --dry-run.
type jsonSurvey struct {
	jsonPath
	Status  string     `json:"status"` // planned
	Keeps   jsonAmount `json:"keeps"`
	Drops   jsonAmount `json:"drops"`
	Backups jsonAmount `json:"backups"`
}

// jsonCleaned is the object of reset cleanup.
type jsonCleaned struct {
	Status    string `json:"status"`
	Removed   int64  `json:"removed"`   // entries
	Wiped     int64  `json:"wiped"`     // bytes
	Discarded int64  `json:"discarded"` // bytes
}

func newJSONSurvey(p *reset.Place, s reset.Survey) jsonSurvey {
	return jsonSurvey{newJSONPath(p.Mount), "planned", jsonAmount(s.Keeps), jsonAmount(s.Goes), jsonAmount(s.Backups)}
}

func newJSONReset(s *reset.Status) jsonReset {
	j := jsonReset{State: string(s.State), Requested: newJSONOrder(s.Order, time.Time{}), Last: newJSONOrder(s.Last, s.LastAt)}
	if s.State == reset.Cleaning || s.Left.Entries > 0 {
		left := jsonAmount(s.Left)
		j.Left = &left
	}
	for _, err := range s.Ignored {
		j.Ignored = append(j.Ignored, newJSONError(err))
	}
	return j
}

func newJSONOrder(o *reset.Order, done time.Time) *jsonOrder {
	if o == nil {
		return nil
	}
	j := &jsonOrder{By: o.By, Keep: append([]string{}, o.Keep...), Wipe: o.Wipe}
	if !o.Time.IsZero() {
		t := o.Time.UTC()
		j.Time = &t
	}
	if !done.IsZero() {
		t := done.UTC()
		j.Done = &t
	}
	for _, m := range o.Mounts {
		j.Paths = append(j.Paths, newJSONPath(m))
	}
	return j
}

// resetLines are a status for people.
func resetLines(s *reset.Status) []string {
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	switch s.State {
	case reset.Requested:
		add("requested by %s, %s: the reset of %s is done at the next boot", s.Order.By, ageWord(time.Since(s.Order.Time)), mountWords(s.Order.Mounts))
	case reset.Decided:
		add("interrupted: the reset of %s goes on at the next boot", mountWords(s.Order.Mounts))
	default:
		add("no reset is requested")
	}
	if s.Order != nil {
		for _, pattern := range s.Order.Keep {
			add("  keeps %s", quotePath(pattern))
		}
		if s.Order.Wipe {
			add("  overwrites old files before they are removed")
		}
	}
	if s.Last != nil {
		add("the last reset, requested by %s, was done %s", s.Last.By, strings.TrimSuffix(ageWord(time.Since(s.LastAt)), " old")+" ago")
	}
	switch {
	case s.Left.Entries > 0:
		add("the clean-up has %s to remove", amountWords(s.Left))
	case s.State == reset.Cleaning:
		add("the clean-up has to tell the disk what is free")
	}
	for _, err := range s.Ignored {
		add("ignored: %v", err)
	}
	return lines
}

func mountWords(mounts []string) string {
	quoted := make([]string, len(mounts))
	for i, m := range mounts {
		quoted[i] = quotePath(m)
	}
	return strings.Join(quoted, ", ")
}
