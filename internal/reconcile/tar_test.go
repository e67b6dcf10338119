// SPDX-License-Identifier: Apache-2.0

//go:build !vmguest

package reconcile

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/overlay"
	"github.com/ovl-restore/ovl-restore/test/namespace"
)

// gnuTar packs a tree as the help of the command says.
func gnuTar(root string, more ...string) *exec.Cmd {
	args := []string{"--create", "--directory", root, "--sort=name", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--hard-dereference"}
	return exec.Command("tar", append(append(args, more...), ".")...)
}

// The manifest says of each entry what is read of it on the device, whatever GNU
// tar makes of it.
func TestManifestOfTar(t *testing.T) {
	root := t.TempDir()
	long := strings.Repeat("long/", 60) + strings.Repeat("n", 255)
	tr := tree{
		"etc/a": "a", "etc/empty": "", "etc/mode": "m mode=04711", "etc/d/": " mode=0700", "etc/d-": "sorts after what is in d", "etc/.x": "hidden",
		".at-root": "hidden", "etc/link": "-> " + strings.Repeat("t/", 200), "etc/x": "x x=value", "etc/xd/": " x=" + strings.Repeat("v", 90),
		"etc/new\nline": "n", "etc/bad\xff": "b", long: "long", "usr/lib/os-release": "IMAGE_ID=one\nBUILD_ID='7'\n",
		"etc/os-release": "-> ../usr/lib/os-release", "usr/big": strings.Repeat("0123456789", 1000),
	}
	tr.write(t, root)
	must(t, os.Link(filepath.Join(root, "etc/a"), filepath.Join(root, "etc/hard")))
	must(t, unix.Mkfifo(filepath.Join(root, "etc/fifo"), 0o640))
	if namespace.Privileged() {
		must(t, unix.Mknod(filepath.Join(root, "etc/chr"), unix.S_IFCHR|0o660, int(unix.Mkdev(300, 70000))))
		must(t, unix.Mknod(filepath.Join(root, "etc/blk"), unix.S_IFBLK|0o660, int(unix.Mkdev(7, 1))))
		must(t, os.Lchown(filepath.Join(root, "etc/mode"), 3_000_000, 4_000_000))
	}
	packed, err := gnuTar(root).Output()
	must(t, err)
	var out bytes.Buffer
	must(t, WriteManifest(&out, bytes.NewReader(packed), ""))

	layers, err := overlay.OpenLayers(t.TempDir(), []string{root}, overlay.LayerOptions{})
	must(t, err)
	defer func() { must(t, layers.Close()) }()
	from := side{layers.ImageReader()}
	defer from.Close()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var head baselineHead
	must(t, json.Unmarshal([]byte(lines[0]), &head))
	if want := (baselineHead{Image: "IMAGE_ID=one BUILD_ID=7", Digest: digestName, Complete: true, Entries: len(lines) - 1}); head != want {
		t.Errorf("got %+v, want %+v", head, want)
	}
	count := 0
	for _, line := range lines[1:] {
		var r baselineRecord
		must(t, json.Unmarshal([]byte(line), &r))
		want, err := from.version(r.rel())
		must(t, err)
		must(t, from.fill(&want, r.rel()))
		got := r.version()
		if got.Type == Symlink {
			got.Mode, want.Mode = 0, 0
		}
		if got != want {
			t.Errorf("%q:\n got %+v\nwant %+v", r.rel(), got, want)
		}
		count++
	}
	if all := len(readTree(t, root)); count != all {
		t.Errorf("%d records of %d entries", count, all)
	}
}

// Archives that would make a wrong manifest are refused, and the message says
// which option is missing.
func TestTarOptions(t *testing.T) {
	root := t.TempDir()
	tree{"etc/os-release": "IMAGE_ID=1", "etc/zz": "", "etc/a": ""}.write(t, root)
	long := strings.Repeat("n", 200)
	tree{long: ""}.write(t, root)
	for want, cmd := range map[string]*exec.Cmd{
		"--sort=name":    exec.Command("tar", "-C", root, "-c", "./etc/zz", "./etc/a"),
		"--format=posix": exec.Command("tar", "-C", root, "--format=gnu", "-c", long),
	} {
		packed, err := cmd.Output()
		must(t, err)
		err = WriteManifest(&bytes.Buffer{}, bytes.NewReader(packed), "")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want a word of %s: %v", want, err)
		}
	}
	must(t, os.Link(filepath.Join(root, "etc/a"), filepath.Join(root, "etc/b")))
	packed, err := exec.Command("tar", "-C", root, "--sort=name", "--format=posix", "-c", ".").Output()
	must(t, err)
	if err := WriteManifest(&bytes.Buffer{}, bytes.NewReader(packed), ""); err == nil || !strings.Contains(err.Error(), "--hard-dereference") {
		t.Errorf("a hard link: %v", err)
	}
}
