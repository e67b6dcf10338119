// SPDX-License-Identifier: Apache-2.0

package man

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ovl-restore/ovl-restore/internal/config"
	"github.com/ovl-restore/ovl-restore/internal/reconcile"
)

// example is what the examples of a page show, as typed.
func example(t *testing.T, page string) string {
	t.Helper()
	data, err := fs.ReadFile(written, "pages/"+page)
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(data), "\n.SH EXAMPLES\n")
	_, text, _ = strings.Cut(text, ".nf\n")
	text, _, found := strings.Cut(text, "\n.fi")
	if !found {
		t.Fatalf("%s has no example", page)
	}
	return strings.NewReplacer(`\-`, "-", `\(aq`, "'", `\(dq`, `"`).Replace(text)
}

// install writes a file of a device's configuration.
func install(t *testing.T, rel, text string) config.Dirs {
	t.Helper()
	root := t.TempDir()
	file := filepath.Join(root, rel)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return config.Default.Below(root)
}

func TestExampleOfTheConfiguration(t *testing.T) {
	c, err := config.Load(install(t, "etc/ovl-restore/ovl-restore.toml", example(t, "ovl-restore.toml.5")))
	if err != nil {
		t.Fatal(err)
	}
	if !c.Base.RAUC || len(c.Overlays) != 1 || c.Overlays[0].Upper != "/data/etc/upper" || c.Store.MaxBytes != 64<<20 {
		t.Errorf("got %+v", c)
	}
}

func TestExampleOfThePolicy(t *testing.T) {
	p, err := reconcile.LoadPolicy(install(t, "etc/ovl-restore/policy.d/20-site.toml", example(t, "ovl-restore-policy.5")))
	if err != nil {
		t.Fatal(err)
	}
	if r := p.Rules[0]; r.Action != reconcile.ChooseImage || len(r.Paths) != 1 {
		t.Errorf("the first rule: %+v", r)
	}
}

// A key that the configuration has is on its page, under its table.
func TestKeysAreDocumented(t *testing.T) {
	source, err := os.ReadFile("../internal/config/config.go")
	if err != nil {
		t.Fatal(err)
	}
	page, err := fs.ReadFile(written, "pages/ovl-restore.toml.5")
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(page), "\n.SS [")
	table, keys := "", 0
	for _, m := range regexp.MustCompile(`(?m)^[^/\n]*"([a-z-]+)":\s+(func|\w+)`).FindAllStringSubmatch(string(source), -1) {
		if m[2] == "func" {
			table = m[1]
			continue
		}
		keys++
		found := false
		for _, part := range parts[1:] {
			heading, text, _ := strings.Cut(part, "\n")
			found = found || strings.Trim(heading, "[]") == table &&
				regexp.MustCompile(`(?m)^\.BR? .*\b`+strings.ReplaceAll(m[1], "-", `\\-`)+`\b`).MatchString(text)
		}
		if !found {
			t.Errorf("man/pages/ovl-restore.toml.5 does not say what %s does in [%s]", m[1], table)
		}
	}
	if keys < 10 {
		t.Errorf("found only %d keys in the source of the configuration", keys)
	}
}
