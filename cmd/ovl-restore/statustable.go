// SPDX-License-Identifier: Apache-2.0

package main

import (
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/ovl-restore/ovl-restore/internal/journal"
	"github.com/ovl-restore/ovl-restore/internal/overlay"
	"github.com/ovl-restore/ovl-restore/internal/reconcile"
	"github.com/ovl-restore/ovl-restore/internal/reset"
)

// statusTable prints a table for people: for each overlay a block.
func (p *printer) statusTable(all []*overlayStatus) {
	for i, s := range all {
		if i > 0 {
			p.line("")
		}
		p.line(quotePath(s.Mount.Point))
		p.line(columns(statusRows(s)))
	}
}

// statusRows are the words and the values of a block.
func statusRows(s *overlayStatus) [][]string {
	var rows [][]string
	add := func(word, value string) {
		if value != "" {
			rows = append(rows, []string{word, value})
		}
	}
	for _, other := range s.others {
		add("also on", quotePath(other))
	}
	add("runtime", s.Runtime)
	switch {
	case s.Upper != nil:
		add("upper", layerLine(s.Upper))
		add("", s.Upper.How)
		add("", fileSystemLine(s.Upper.FileSystem))
	case s.UpperErr != nil:
		add("upper", "not found: "+quotePath(s.Mount.Config.Upper.Path))
	default:
		add("upper", "none")
	}
	if s.Work != nil {
		add("work", quotePath(s.Work.Where))
	}
	for i := range s.Lowers {
		l := &s.Lowers[i]
		add("lower", layerLine(l))
		add("", l.How)
		add("", fileSystemLine(l.FileSystem))
	}
	if s.LowersErr != nil {
		add("lower", "not all found")
	}
	for _, d := range s.Mount.Config.DataOnly {
		add("data only", quotePath(d.Path))
	}
	add("options", optionsLine(s))
	add("method", methodLine(s.Method))
	add("image", imageLine(s.Image))
	if s.Counts != nil {
		add("deviations", countsLine(s.Counts))
	}
	if s.Bytes != nil {
		add("room", roomLine(s))
	}
	addFeatures(s, add)
	return rows
}

// addFeatures adds what the other commands have to say of an overlay: backups,
// reconciling, resets.
func addFeatures(s *overlayStatus, add func(word, value string)) {
	if s.store != nil {
		add("store", quotePath(s.store.Path))
		add("", storeLine(s.store, s.now))
	}
	word := "reconciled"
	for _, line := range reconLines(s) {
		add(word, line)
		word = ""
	}
	add("reset", resetLine(s.reset, s.now))
}

func layerLine(l *overlay.LayerStatus) string {
	return quotePath(l.Where) + " (" + string(l.Sure) + ")"
}

func fileSystemLine(f overlay.FileSystem) string {
	var words []string
	if f.Type != "" {
		words = append(words, f.Type)
	}
	if f.Source != "" && f.Source != f.Type {
		words = append(words, quotePath(f.Source))
	}
	words = append(words, sizeWord(f.Free)+" free of "+sizeWord(f.Size))
	return strings.Join(words, " ")
}

func optionsLine(s *overlayStatus) string {
	o := s.Options
	words := []string{"redirect_dir=" + o.Redirect, "index=" + onOff(o.Index), "metacopy=" + onOff(o.Metacopy)}
	for _, flag := range []struct {
		set  bool
		word string
	}{{o.NFSExport, "nfs_export=on"}, {o.UserXattr, "userxattr"}, {o.Volatile, "volatile"}, {s.Mount.ReadOnly, "read-only"}} {
		if flag.set {
			words = append(words, flag.word)
		}
	}
	return strings.Join(words, ", ")
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

func methodLine(m overlay.MethodStatus) string {
	switch m.Method {
	case overlay.MethodIoctl:
		if m.Generation == 1 {
			return "ioctl, of the first generation"
		}
		return "ioctl"
	case overlay.MethodRemount:
		return "remount (this kernel lacks the ioctl)"
	default:
		return "none: " + withoutErrno(m.Err)
	}
}

func imageLine(i overlay.Image) string {
	var words []string
	for _, f := range [][2]string{
		{"IMAGE_ID", i.ImageID},
		{"IMAGE_VERSION", i.ImageVersion},
		{"BUILD_ID", i.BuildID},
		{"VERSION_ID", i.VersionID},
		{"UUID", i.UUID},
	} {
		value := quotePath(f[1])
		if strings.ContainsAny(value, " \"'") && value == f[1] {
			value = strconv.Quote(value)
		}
		if value != "" {
			words = append(words, f[0]+"="+value)
		}
	}
	return strings.Join(words, " ")
}

func countsLine(c *overlay.Counts) string {
	var parts []string
	for k, n := range c {
		if n > 0 {
			parts = append(parts, strconv.FormatInt(n, 10)+" "+kindWords(overlay.Kind(k)))
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// kindWords are a kind in a sentence, where its name is short for more.
func kindWords(k overlay.Kind) string {
	switch k {
	case overlay.Metadata:
		return "metadata only"
	case overlay.TypeChanged:
		return "type changed"
	case overlay.Redundant:
		return "redundant copies"
	case overlay.Orphan:
		return "orphan whiteouts"
	default:
		return k.String()
	}
}

func roomLine(s *overlayStatus) string {
	line := sizeWord(s.Bytes.Upper) + " in the upper"
	total := s.Bytes.Redundant
	var of []string
	if s.Bytes.Redundant > 0 {
		of = append(of, "redundant copies")
	}
	if s.store != nil && s.store.Bytes > 0 {
		total += s.store.Bytes
		of = append(of, "backups")
	}
	if total > 0 {
		line += "; " + sizeWord(total) + " could be freed (" + strings.Join(of, ", ") + ")"
	}
	return line
}

func storeLine(s *journal.Summary, now time.Time) string {
	if s.Transactions == 0 {
		return "no transaction"
	}
	line := strconv.Itoa(s.Transactions) + " transactions"
	if s.Transactions == 1 {
		line = "1 transaction"
	}
	if s.Open > 0 {
		line += ", " + strconv.Itoa(s.Open) + " not done"
	}
	switch oldest, newest := ageWord(now.Sub(s.Oldest)), ageWord(now.Sub(s.Newest)); {
	case s.Oldest.IsZero():
	case oldest == newest:
		line += ", " + oldest
	default:
		line += ", " + newest + " to " + oldest
	}
	return line
}

// reconLines are what is known of reconciling: for which image it was done, what
// waits for the next run, and what waits for the user.
func reconLines(s *overlayStatus) []string {
	r := s.recon
	if r == nil {
		return nil
	}
	var lines []string
	if r.Image != "" {
		line := "with " + quotePath(r.Image) + ", " + ageWord(s.now.Sub(r.Time))
		switch {
		case r.Interrupted:
			line += "; another run was not finished (ovl-restore reconcile)"
		case !s.Image.IsZero() && reconcile.ImageName(s.Image) != r.Image && strings.Contains(r.Image, "="): // not a command's
			line += ", not with this image (ovl-restore reconcile)"
		case !r.Confirmed:
			line += ", not confirmed"
		}
		lines = append(lines, line)
	}
	if r.Queued > 0 {
		lines = append(lines, plural(r.Queued, "request", "requests")+" queued for the next run")
	}
	for _, rel := range r.Pending {
		lines = append(lines, "to resolve: "+quotePath(strings.TrimSuffix(s.Mount.Point, "/")+"/"+rel)+" and "+
			quotePath(filepath.Base(rel)+reconcile.BesideSuffix)+" (ovl-restore resolve)")
	}
	return lines
}

func resetLine(s *reset.Status, now time.Time) string {
	switch {
	case s == nil || s.State == reset.None:
		return ""
	case s.State == reset.Requested:
		return "requested by " + s.Order.By + ", " + ageWord(now.Sub(s.Order.Time))
	case s.State == reset.Decided:
		return "interrupted; it goes on at the next boot"
	case s.Left.Entries > 0:
		return "the clean-up has " + amountWords(s.Left) + " to remove"
	default:
		return "the clean-up has to tell the disk what is free"
	}
}

// sizeWord is a number of bytes for people.
func sizeWord(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return strconv.FormatInt(n, 10) + " B"
	}
	value := float64(n)
	unit := -1
	for value >= 1024 && unit < len(units)-1 {
		value /= 1024
		unit++
	}
	return strconv.FormatFloat(value, 'f', 1, 64) + " " + units[unit:unit+1] + "iB"
}

// ageWord is a time that has passed. A clock that was set makes it negative.
func ageWord(d time.Duration) string {
	for _, unit := range []struct {
		length time.Duration
		word   string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}} {
		switch n := int64(d / unit.length); {
		case n == 1:
			return "1 " + unit.word + " old"
		case n > 1:
			return strconv.FormatInt(n, 10) + " " + unit.word + "s old"
		}
	}
	return "less than a minute old"
}
