// SPDX-License-Identifier: Apache-2.0

package man

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

//go:embed sections pages
var written embed.FS

// Write writes every page into dir. more goes on with the help text of root.
// It fails for a hand-written part whose command does not exist, and where a
// command lacks what a page cannot do without.
func (e Edition) Write(dir string, root *cobra.Command, more string) error {
	pages, err := fs.ReadDir(written, "pages")
	if err != nil {
		return err
	}
	var see []string
	for _, cmd := range commands(root) {
		see = append(see, name(cmd)+"."+section)
	}
	for _, page := range pages {
		see = append(see, page.Name())
	}
	slices.Sort(see)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, page := range pages {
		data, err := fs.ReadFile(written, path.Join("pages", page.Name()))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, page.Name()), []byte(e.fill(string(data), page.Name(), see)), 0o644); err != nil {
			return err
		}
	}
	return e.writeCommands(dir, root, more, see)
}

func (e Edition) writeCommands(dir string, root *cobra.Command, more string, see []string) error {
	parts, err := readSections(written)
	if err != nil {
		return err
	}
	taken := map[string]bool{}
	for _, cmd := range commands(root) {
		file := name(cmd) + "." + section
		taken[file] = true
		if cmd.Short == "" {
			return fmt.Errorf("%s: the command has no Short text", cmd.CommandPath())
		}
		own := ""
		if cmd == root {
			own = more
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(e.command(cmd, own, parts[file], see)), 0o644); err != nil {
			return err
		}
	}
	if files := unused(parts, taken); len(files) > 0 {
		return fmt.Errorf("man/sections/%s is about a command that does not exist: rename or remove it", files[0])
	}
	return nil
}

// fill puts the edition into the heading of a hand-written page, and the other
// pages under its end.
func (e Edition) fill(text, own string, see []string) string {
	var b strings.Builder
	b.WriteString(strings.NewReplacer("@DATE@", e.Date, "@VERSION@", escape(e.Version, true)).Replace(text))
	b.WriteString(".SH SEE ALSO\n")
	seeAlso(&b, own, see)
	return b.String()
}

func readSections(files fs.FS) (map[string]sections, error) {
	entries, err := fs.ReadDir(files, "sections")
	if err != nil {
		return nil, err
	}
	parts := map[string]sections{}
	for _, entry := range entries {
		data, err := fs.ReadFile(files, path.Join("sections", entry.Name()))
		if err != nil {
			return nil, err
		}
		if parts[entry.Name()], err = parseSections(string(data)); err != nil {
			return nil, fmt.Errorf("man/sections/%s: %w", entry.Name(), err)
		}
	}
	return parts, nil
}
