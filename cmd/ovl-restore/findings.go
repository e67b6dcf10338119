// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"strconv"
	"strings"

	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

// checkedOverlay is an overlay that was checked.
type checkedOverlay struct {
	name    string
	upper   string // where the paths of findings in the upper start, as the user knows it
	work    string
	hidden  string // for a bind of a directory: the upper, which has the rest
	root    string // that directory, from the overlay's root; "" for all of it
	mounted bool

	repaired, left, notices int
}

// where says where a finding is.
func (c *checkedOverlay) where(f overlay.Finding) string {
	base, path := c.upper, f.Path
	if f.In == overlay.InWork {
		base = c.work
	} else if c.root != "" {
		if rest, ok := strings.CutPrefix(path+"/", c.root+"/"); ok {
			path = strings.TrimSuffix(rest, "/")
		} else {
			base = c.hidden
		}
	}
	if path == "." || path == "" {
		return base
	}
	return strings.TrimSuffix(base, "/") + "/" + path
}

// findings prints what was found in one overlay, a line each:
//
//	PATH: CODE: what is there; what it does (what to do)
//
// Effect and advice are printed with the first finding that has them.
func (p *printer) findings(c *checkedOverlay, findings []overlay.Finding) {
	for _, f := range findings {
		switch {
		case p.json:
			p.object(newJSONFinding(c, f))
		case p.quiet && (f.Repaired || f.Severity == overlay.Notice):
		case p.nul:
			_, _ = p.stdout.WriteString(string(f.Code) + " " + c.where(f) + "\x00")
		default:
			p.line(findingLine(c, f, p.explain))
		}
		if !p.json && f.Err != nil && !errors.Is(f.Err, overlay.ErrMountedRepair) {
			p.failure(c.where(f), f.Err)
		}
	}
}

// checked says that all of one overlay was looked at.
func (p *printer) checked(c *checkedOverlay) {
	switch {
	case p.json:
		p.object(jsonChecked{jsonPath: newJSONPath(c.name), Status: "checked", Problems: c.left, Repaired: c.repaired, Notices: c.notices})
	case !p.quiet && !p.nul:
		p.line(quotePath(c.name) + ": " + checkedSentence(c))
	}
}

func findingLine(c *checkedOverlay, f overlay.Finding, said map[string]bool) string {
	line := quotePath(c.where(f)) + ": "
	if f.Severity == overlay.Notice {
		line += "notice: "
	}
	line += string(f.Code) + ": " + f.What
	if f.Repaired {
		line += ": repaired"
		if f.Backup != "" {
			line += ", backup " + quotePath(f.Backup)
		}
		return line
	}
	if more := "; " + f.Effect + " (" + hintFinding(f, c.mounted) + ")"; !said[more] {
		said[more] = true
		line += more
	}
	return line
}

func checkedSentence(c *checkedOverlay) string {
	var parts []string
	add := func(n int, one, many string) {
		switch {
		case n == 1:
			parts = append(parts, "1 "+one)
		case n > 1:
			parts = append(parts, strconv.Itoa(n)+" "+many)
		}
	}
	add(c.left, "problem", "problems")
	add(c.repaired, "repaired", "repaired")
	add(c.notices, "notice", "notices")
	if c.left == 0 {
		parts = append([]string{"no problem"}, parts...)
	}
	if c.left == 0 && c.repaired > 0 {
		parts[0] = "no problem left"
	}
	return strings.Join(parts, ", ")
}

// jsonFinding is an object of check; see jsonResult for what they have in common.
type jsonFinding struct {
	jsonPath        // as a user names it: below the mount point, or in --upper or --work
	Overlay  string `json:"overlay"`  // the mount point, or --upper
	Code     string `json:"code"`     // as check --help lists them
	Severity string `json:"severity"` // problem or notice
	In       string `json:"in"`       // upper or work
	What     string `json:"what"`
	Effect   string `json:"effect"`
	Advice   string `json:"advice"`
	// Status is found, done (repaired) or failed (the repair; with an error).
	Status string     `json:"status"`
	Backup string     `json:"backup,omitempty"`
	Error  *jsonError `json:"error,omitempty"`
}

// jsonChecked follows the findings of each overlay that was checked.
type jsonChecked struct {
	jsonPath        // the mount point, or --upper
	Status   string `json:"status"` // checked
	Problems int    `json:"problems"`
	Repaired int    `json:"repaired"`
	Notices  int    `json:"notices"`
}

func newJSONFinding(c *checkedOverlay, f overlay.Finding) jsonFinding {
	j := jsonFinding{
		jsonPath: newJSONPath(c.where(f)), Overlay: c.name,
		Code: string(f.Code), Severity: string(f.Severity), In: string(f.In),
		What: f.What, Effect: f.Effect, Advice: hintFinding(f, c.mounted),
		Status: "found", Backup: f.Backup,
	}
	switch {
	case f.Repaired:
		j.Status = "done"
	case f.Err != nil && !errors.Is(f.Err, overlay.ErrMountedRepair):
		j.Status, j.Error = "failed", newJSONError(f.Err)
	}
	return j
}
