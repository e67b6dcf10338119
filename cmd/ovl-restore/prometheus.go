// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/ovl-restore/ovl-restore/internal/overlay"
	"github.com/ovl-restore/ovl-restore/internal/reset"
)

// metric is a family of the Prometheus text format: all of its samples stand
// together, under one HELP and one TYPE.
type metric struct {
	name    string
	help    string
	samples []sample
}

type sample struct {
	labels [][2]string
	value  int64
}

func (m *metric) add(value int64, labels ...[2]string) {
	m.samples = append(m.samples, sample{labels, value})
}

// prometheus prints gauges for the textfile collector.
func (p *printer) prometheus(all []*overlayStatus) {
	for _, m := range metrics(all) {
		if len(m.samples) == 0 {
			continue
		}
		p.line("# HELP " + m.name + " " + escapeHelp(m.help))
		p.line("# TYPE " + m.name + " gauge")
		for _, s := range m.samples {
			p.line(m.name + "{" + labelList(s.labels) + "} " + strconv.FormatInt(s.value, 10))
		}
	}
}

func metrics(all []*overlayStatus) []*metric {
	info := &metric{name: "ovl_restore_overlay_info", help: "The overlays of this device, their layers and image; always 1."}
	complete := &metric{name: "ovl_restore_complete", help: "Whether all of the overlay could be looked at."}
	method := &metric{name: "ovl_restore_method", help: "How files can be brought back; generation is that of the ioctl. 1 where they can."}
	deviations := &metric{name: "ovl_restore_deviations", help: "Entries of the upper that differ from the image, by kind."}
	upper := &metric{name: "ovl_restore_upper_bytes", help: "Room that the upper takes."}
	freeable := &metric{name: "ovl_restore_freeable_bytes", help: "Room that could be freed: redundant copies, and backups."}
	size := &metric{name: "ovl_restore_filesystem_size_bytes", help: "Size of the file system that a layer is on."}
	free := &metric{name: "ovl_restore_filesystem_avail_bytes", help: "Room on that file system for users without privileges."}
	transactions := &metric{name: "ovl_restore_transactions", help: "Transactions with backups, by state: done, or open."}
	oldest := &metric{name: "ovl_restore_transaction_oldest_timestamp_seconds", help: "When the oldest of them began."}
	newest := &metric{name: "ovl_restore_transaction_newest_timestamp_seconds", help: "When the newest of them began."}
	reconciled := &metric{name: "ovl_restore_reconciled_timestamp_seconds", help: "When the upper was fitted to an image; confirmed is whether the image is known to be good."}
	pending := &metric{name: "ovl_restore_reconcile_pending", help: "Entries that wait for the user, with the image's version beside them, and requests that wait for the next run."}
	resets := &metric{name: "ovl_restore_reset", help: "The state of a factory reset: 1 where one is requested, begun, or being cleaned up after."}
	for _, s := range all {
		mount := label("mount", s.Mount.Point)
		info.add(1, append([][2]string{mount}, infoLabels(s)...)...)
		complete.add(number(len(s.failures()) == 0), mount)
		method.add(number(s.Method.Method != ""), mount,
			label("method", methodName(s.Method)), label("generation", strconv.Itoa(s.Method.Generation)))
		if s.Counts != nil {
			for k, n := range s.Counts {
				deviations.add(n, mount, label("kind", overlay.Kind(k).String()))
			}
		}
		if s.Bytes != nil {
			upper.add(s.Bytes.Upper, mount)
			freeable.add(s.Bytes.Redundant, mount, label("what", "redundant"))
		}
		if s.Upper != nil {
			size.add(s.Upper.Size, mount, label("layer", "upper"))
			free.add(s.Upper.Free, mount, label("layer", "upper"))
		}
		if s.recon != nil {
			if s.recon.Image != "" {
				reconciled.add(s.recon.Time.Unix(), mount, label("image", s.recon.Image), label("confirmed", strconv.FormatBool(s.recon.Confirmed)))
			}
			pending.add(int64(len(s.recon.Pending)), mount, label("what", "conflicts"))
			pending.add(int64(s.recon.Queued), mount, label("what", "requests"))
		}
		if s.reset != nil {
			resets.add(number(s.reset.State != reset.None), mount, label("state", string(s.reset.State)))
		}
		if s.store != nil {
			freeable.add(s.store.Bytes, mount, label("what", "backups"))
			transactions.add(int64(s.store.Transactions-s.store.Open), mount, label("state", "done"))
			transactions.add(int64(s.store.Open), mount, label("state", "open"))
			if !s.store.Oldest.IsZero() {
				oldest.add(s.store.Oldest.Unix(), mount)
				newest.add(s.store.Newest.Unix(), mount)
			}
		}
	}
	return []*metric{info, complete, method, deviations, upper, freeable, size, free, transactions, oldest, newest, reconciled, pending, resets}
}

func methodName(m overlay.MethodStatus) string {
	if m.Method == "" {
		return "none"
	}
	return string(m.Method)
}

func infoLabels(s *overlayStatus) [][2]string {
	var lowers []string
	for _, l := range s.Mount.Config.Lowers {
		lowers = append(lowers, l.Literal)
	}
	sure := ""
	if s.Upper != nil {
		sure = string(s.Upper.Sure)
	}
	o := s.Options
	return [][2]string{
		label("upper", s.Mount.Config.Upper.Path),
		label("upper_sure", sure),
		label("lower", strings.Join(lowers, ":")),
		label("runtime", s.Runtime),
		label("redirect_dir", o.Redirect),
		label("index", onOff(o.Index)),
		label("metacopy", onOff(o.Metacopy)),
		label("userxattr", onOff(o.UserXattr)),
		label("volatile", onOff(o.Volatile)),
		label("image_id", s.Image.ImageID),
		label("image_version", s.Image.ImageVersion),
		label("build_id", s.Image.BuildID),
		label("version_id", s.Image.VersionID),
		label("uuid", s.Image.UUID),
	}
}

func label(name, value string) [2]string { return [2]string{name, value} }

func number(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func labelList(labels [][2]string) string {
	parts := make([]string, len(labels))
	for i, l := range labels {
		parts[i] = l[0] + `="` + escapeLabel(l[1]) + `"`
	}
	return strings.Join(parts, ",")
}

// escapeLabel writes a label's value. The format is UTF-8, and knows no way to
// write other bytes: they become \x and two digits, with the backslash escaped.
func escapeLabel(value string) string {
	var b strings.Builder
	for i := 0; i < len(value); {
		c, size := utf8.DecodeRuneInString(value[i:])
		switch {
		case c == utf8.RuneError && size == 1:
			const digits = "0123456789abcdef"
			b.WriteString(`\\x` + string(digits[value[i]>>4]) + string(digits[value[i]&15]))
		case c == '\\':
			b.WriteString(`\\`)
		case c == '"':
			b.WriteString(`\"`)
		case c == '\n':
			b.WriteString(`\n`)
		default:
			b.WriteString(value[i : i+size])
		}
		i += size
	}
	return b.String()
}

func escapeHelp(text string) string {
	return strings.NewReplacer(`\`, `\\`, "\n", `\n`).Replace(text)
}
