// SPDX-License-Identifier: Apache-2.0

package overlay

import "strings"

// Config is what an overlay was mounted with, from its line in mountinfo.
type Config struct {
	Lowers    []LayerPath // topmost first, without the data-only ones
	DataOnly  []LayerPath // data-only lowers: never part of a directory
	Upper     LayerPath   // empty for an overlay without an upper
	Work      LayerPath
	UserXattr bool // xattrs are user.overlay.*, else trusted.overlay.*
	Index     bool
	NFSExport bool
	Xino      bool
	Metacopy  bool
	Volatile  bool
	Redirect  string // redirect_dir as shown: on, off, follow, nofollow, or ""
}

// LayerPath is a layer's directory as it was written at mount time: it may be
// relative to the mounter's working directory, or no longer lead there.
type LayerPath struct {
	Path string // with the option's backslash escapes taken away
	// Literal is the option's text as the kernel keeps it. Kernels differ in
	// which options they unescape, so both spellings are worth a try.
	Literal string
}

// IsZero says that there is no such layer.
func (p LayerPath) IsZero() bool { return p.Literal == "" }

func (p LayerPath) String() string { return p.Path }

// spellings are the distinct ways to read the option.
func (p LayerPath) spellings() []string {
	if p.Path == p.Literal {
		return []string{p.Path}
	}
	return []string{p.Path, p.Literal}
}

// xattrPrefix is the name space of the overlay's xattrs.
func (c Config) xattrPrefix() string {
	if c.UserXattr {
		return "user.overlay."
	}
	return "trusted.overlay."
}

// parseConfig reads the file system options of an overlay's mountinfo line. The
// kernel escapes blanks, commas, equal signs and backslashes in values as
// octal, so commas and the first equal sign separate.
func parseConfig(options string) Config {
	var c Config
	for option := range strings.SplitSeq(options, ",") {
		key, value, _ := strings.Cut(option, "=")
		value = unescapeOctal(value)
		switch key {
		case "lowerdir":
			lowers, data := splitLowers(value)
			c.Lowers = append(c.Lowers, lowers...)
			c.DataOnly = append(c.DataOnly, data...)
		case "lowerdir+": // since 6.8: one layer each, never escaped
			c.Lowers = append(c.Lowers, LayerPath{Path: value, Literal: value})
		case "datadir+":
			c.DataOnly = append(c.DataOnly, LayerPath{Path: value, Literal: value})
		case "upperdir":
			c.Upper = newLayerPath(value)
		case "workdir":
			c.Work = newLayerPath(value)
		case "userxattr":
			c.UserXattr = true
		case "index":
			c.Index = value == "on"
		case "nfs_export":
			c.NFSExport = value == "on"
		case "xino":
			c.Xino = value == "on"
		case "metacopy":
			c.Metacopy = value == "on"
		case "volatile":
			c.Volatile = true
		case "fsync": // what newer kernels show for volatile
			c.Volatile = value == "volatile"
		case "redirect_dir":
			c.Redirect = value
		}
	}
	return c
}

// ParseLowers reads layers as the option lowerdir has them: the lowers, topmost
// first, and the data-only ones.
func ParseLowers(option string) (lowers, data []string) {
	l, d := splitLowers(option)
	for _, p := range l {
		lowers = append(lowers, p.Path)
	}
	for _, p := range d {
		data = append(data, p.Path)
	}
	return lowers, data
}

// splitLowers splits a lowerdir value: layers are separated by ':', data-only
// layers follow '::', and a backslash takes the next byte as it is.
func splitLowers(value string) (lowers, data []LayerPath) {
	isData := false
	start := 0
	flush := func(end int) {
		p := newLayerPath(value[start:end])
		switch {
		case p.IsZero():
		case isData:
			data = append(data, p)
		default:
			lowers = append(lowers, p)
		}
	}
	for i := 0; i < len(value); i++ {
		switch value[i] {
		case '\\':
			i++
		case ':':
			flush(i)
			if i+1 < len(value) && value[i+1] == ':' {
				isData = true
				i++
			}
			start = i + 1
		}
	}
	flush(len(value))
	return lowers, data
}

func newLayerPath(literal string) LayerPath {
	return LayerPath{Path: unescapeBackslash(literal), Literal: literal}
}

// unescapeBackslash drops each backslash and keeps the byte behind it.
func unescapeBackslash(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// unescapeOctal undoes the kernel's seq_escape: \054 is a comma.
func unescapeOctal(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && isOctal(s[i+1]) && isOctal(s[i+2]) && isOctal(s[i+3]) {
			b.WriteByte((s[i+1]-'0')<<6 | (s[i+2]-'0')<<3 | (s[i+3] - '0'))
			i += 3
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func isOctal(c byte) bool { return '0' <= c && c <= '7' }
