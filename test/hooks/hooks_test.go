// SPDX-License-Identifier: Apache-2.0

// Package hooks tests the hooks in integrations/ as their engines call them, on
// an overlay. RAUC's and dpkg's run on the device of test/appliance.
package hooks

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ovl-restore/ovl-restore/test/namespace"
)

func TestMain(m *testing.M) { namespace.Main(m) }

// device is an overlay that a user has worked on, with the tool in PATH.
type device struct {
	*namespace.Overlay

	dir  string // for the test's own files
	root string // of the repository
}

func newDevice(t *testing.T) *device {
	t.Helper()
	d := &device{Overlay: namespace.NewOverlay(t), dir: t.TempDir()}
	var err error
	if d.root, err = filepath.Abs("../.."); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(d.dir, "bin")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", filepath.Join(bin, "ovl-restore"), "./cmd/ovl-restore")
	build.Dir, build.Env = d.root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	for name, content := range map[string]string{
		"etc/os-release": "IMAGE_ID=test\nIMAGE_VERSION=1\n",
		"etc/app.conf":   "of the image\n",
	} {
		write(t, filepath.Join(d.Lower, name), content)
	}
	d.Mount(t)
	write(t, filepath.Join(d.Merged, "etc/app.conf"), "mine\n")
	return d
}

func (d *device) hook(name string) string { return filepath.Join(d.root, "integrations", name) }

// baseline returns what was recorded, and forgets it.
func (d *device) baseline(t *testing.T) string {
	t.Helper()
	path := d.Upper + ".ovl-restore/baseline.jsonl"
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("no baseline was recorded: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func (d *device) wantBaseline(t *testing.T) {
	t.Helper()
	if b := d.baseline(t); !strings.Contains(b, "etc/app.conf") {
		t.Errorf("the baseline lacks etc/app.conf:\n%s", b)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// run runs a program, which must succeed.
func run(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}
