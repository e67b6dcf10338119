// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/ovl-restore/ovl-restore/internal/config"
)

// policyDirs makes policy files, in an image's directory and in the owner's.
func policyDirs(t *testing.T, files map[string]string) config.Dirs {
	t.Helper()
	root := t.TempDir()
	dirs := config.Dirs{filepath.Join(root, "usr"), filepath.Join(root, "etc")}
	for name, data := range files {
		path := filepath.Join(root, filepath.Dir(name), policyDir, filepath.Base(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dirs
}

func rule(action, paths string) string {
	return "[[rule]]\npaths = " + paths + "\naction = \"" + action + "\"\n"
}

func TestDefaultPolicy(t *testing.T) {
	p, err := LoadPolicy(policyDirs(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]Choice{
		"/etc/nginx/nginx.conf":          ChooseBoth,
		"/etc/hosts.allow":               ChooseBoth,
		"/etc/hosts":                     ChooseKeep,
		"/etc/machine-id":                ChooseKeep,
		"/etc/passwd":                    ChooseKeep,
		"/etc/shadow-":                   ChooseKeep,
		"/etc/ssh/ssh_host_ed25519_key":  ChooseKeep,
		"/etc/ssh/sshd_config":           ChooseBoth,
		"/etc/ld.so.cache":               ChooseImage,
		"/usr/bin/vi":                    ChooseImage,
		"/usr/lib/opkg/status":           ChooseKeep,
		"/usr/lib/modules/6.1/modules.x": ChooseImage,
		"/opt/app/bin/app":               ChooseImage,
		"/lib64/ld-linux.so":             ChooseImage,
		"/lib64":                         ChooseImage,
		"/bin":                           ChooseImage,
		"/var/lib/dpkg/status":           ChooseKeep,
		"/var/lib/app/data":              ChooseKeep,
		"/home/me/.profile":              ChooseKeep,
		"/root/.profile":                 ChooseKeep,
		"/srv/www/index.html":            ChooseKeep,
		"/usr/share/n\nl":                ChooseImage,
		"/etc/bad\xff":                   ChooseBoth,
	} {
		if got := p.Choice(path); got != want {
			t.Errorf("%q: got %s by %v, want %s", path, got, p.For(path), want)
		}
	}
	for i := range p.Rules {
		if p.Rules[i].Reason == "" {
			t.Errorf("%s has no reason", &p.Rules[i])
		}
	}
}

// Files count in the order of their names, whichever directory they are in, and
// the owner's replaces the image's of the same name.
func TestPolicyFiles(t *testing.T) {
	p, err := LoadPolicy(policyDirs(t, map[string]string{
		"usr/10-image.toml":  rule("keep", `["/etc/a", "/etc/b"]`),
		"usr/20-vendor.toml": rule("keep", `"/etc/c"`),
		"etc/20-vendor.toml": rule("image", `"/etc/c"`),
		"etc/05-mine.toml":   rule("restore", `"/etc/a"`) + rule("image", `"/etc/{x,y}*/**"`),
		"etc/95-late.toml":   rule("image", `"/etc/d"`),
	}))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]Choice{
		"/etc/a":      ChooseRestore,
		"/etc/b":      ChooseKeep,
		"/etc/c":      ChooseImage,
		"/etc/d":      ChooseBoth, // the built-in rules come before
		"/etc/yz/k/l": ChooseImage,
	} {
		if got := p.Choice(path); got != want {
			t.Errorf("%s: got %s by %v, want %s", path, got, p.For(path), want)
		}
	}
}

func TestDefaultsReplaced(t *testing.T) {
	p, err := LoadPolicy(policyDirs(t, map[string]string{"etc/" + DefaultsName: rule("image", `"/etc/a"`)}))
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Rules) != 1 || p.For("/etc/b") != nil || p.Choice("/etc/b") != ChooseKeep {
		t.Errorf("rules %v", p.Rules)
	}
	p, err = LoadPolicy(policyDirs(t, map[string]string{"etc/" + DefaultsName: ""}))
	if err != nil || len(p.Rules) != 0 {
		t.Errorf("masked: rules %v, %v", p.Rules, err)
	}
}

func TestPolicyErrors(t *testing.T) {
	good := rule("keep", `"/etc/a"`)
	for _, test := range []struct {
		data string
		line int
		key  string
	}{
		{good + "nonsense = 1\n", 4, "rule.nonsense"},
		{good + rule("merge", `"/etc/a"`), 6, "rule.action"},
		{good + rule("keep", `"etc/a"`), 5, "rule.paths"},
		{good + rule("keep", `["/etc/a", "/etc/[a"]`), 5, "rule.paths"},
		{good + rule("keep", `[]`), 5, "rule.paths"},
		{good + "\n[[rule]]\naction = \"keep\"\n", 5, "rule.paths"},
		{good + "\n# x\n[[rule]]\npaths = \"/etc\"\n", 6, "rule.action"},
		{good + "[rules]\n", 4, ""},
	} {
		_, err := LoadPolicy(policyDirs(t, map[string]string{"etc/10-x.toml": test.data}))
		var e *config.Error
		if !errors.As(err, &e) {
			t.Errorf("%q: no error of the file: %v", test.data, err)
			continue
		}
		if filepath.Base(e.File) != "10-x.toml" || e.Line != test.line || e.Key != test.key {
			t.Errorf("%q: %v, want line %d, key %q", test.data, e, test.line, test.key)
		}
	}
}
