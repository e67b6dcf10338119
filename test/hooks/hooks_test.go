// SPDX-License-Identifier: Apache-2.0

// Package hooks tests the hooks in integrations/ as their engines call them, on
// an overlay. RAUC itself, and dpkg, also run them on the device of test/appliance.
package hooks

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
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
	d := build(t)
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

// program is the tool, as it is on devices: static.
var program = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "program-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "ovl-restore")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", file, "./cmd/ovl-restore")
	build.Dir, build.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	return os.ReadFile(file)
})

// build makes an overlay that is not mounted yet, and puts the tool in PATH.
func build(t *testing.T) *device {
	t.Helper()
	dir := t.TempDir()
	d := &device{Overlay: namespace.NewOverlayIn(t, dir), dir: dir}
	var err error
	if d.root, err = filepath.Abs("../.."); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(d.dir, "bin")
	data, err := program()
	if err == nil {
		err = os.Mkdir(bin, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(bin, "ovl-restore"), data, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	// The hooks are for every overlay of a device.
	out, err := exec.Command("ovl-restore", "status", "--json").CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Fatalf("this machine has overlays, which the tests of the hooks would change: %v\n%s", err, out)
	}
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
