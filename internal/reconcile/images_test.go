// SPDX-License-Identifier: Apache-2.0

//go:build !vmguest

package reconcile

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// remake makes the images in testdata anew, from the trees of the tests; only
// virtual machines mount them:
//
//	go test ./internal/reconcile -run TestMakeImages -images
var remake = flag.Bool("images", false, "make testdata/*.squashfs anew, by mksquashfs")

func TestMakeImages(t *testing.T) {
	for version, tr := range map[string]tree{"1": imageV1, "2": imageV2, "3": imageV3()} {
		image := filepath.Join("testdata", "v"+version+".squashfs")
		if _, err := os.Stat(image); err != nil && !*remake {
			t.Error(err)
		}
		if !*remake {
			continue
		}
		root := t.TempDir()
		tr.write(t, root)
		tree{"usr/lib/os-release": "IMAGE_VERSION=" + version}.write(t, root)
		must(t, os.MkdirAll("testdata", 0o755))
		out, err := exec.Command("mksquashfs", root, image, "-noappend", "-all-root", "-mkfs-time", "0", "-all-time", "0", "-no-progress", "-quiet").CombinedOutput()
		if err != nil {
			t.Fatalf("mksquashfs: %v: %s", err, out)
		}
	}
}
