// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package reconcile

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/config"
	"github.com/ovl-restore/ovl-restore/test/namespace"
)

// attach mounts the images of testdata, each as the squashfs that it is. See
// TestMakeImages.
func attach(t *testing.T, options ...string) *stage {
	t.Helper()
	s := newStage(t, options...)
	s.mounted = true
	for _, version := range []string{"1", "2", "3"} {
		dir := t.TempDir()
		image := filepath.Join("testdata", "v"+version+".squashfs")
		if out, err := exec.Command("mount", "-t", "squashfs", "-o", "loop,ro", image, dir).CombinedOutput(); err != nil {
			t.Fatalf("mount %s: %v: %s", image, err, out)
		}
		t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
		s.images[version] = dir
	}
	return s
}

// The update with real images, on each kind of mount: the numbers of the inodes in
// each are others, so that the origins in the upper lead to other files. (With
// index=on the kernel mounts no other image at all, unless the two have one number
// for their root directories.)
func TestUpdateOfSquashfs(t *testing.T) {
	for name, options := range map[string][]string{
		"default": nil, "redirect": {"redirect_dir=on", "xino=on"}, "metacopy": {"redirect_dir=on", "metacopy=on"},
	} {
		t.Run(name, func(t *testing.T) { testUpdate(t, attach(t, options...)) })
	}
}

// The images in testdata have what the tests take them to have, and each file has
// another number in each: an origin of the first image leads astray in the second.
func TestImages(t *testing.T) {
	s := attach(t)
	moved := 0
	for version, want := range map[string]tree{"1": imageV1, "2": imageV2, "3": imageV3()} {
		made := namespace.Disk(t) // user.* attributes, also on Linux 6.1
		want.write(t, made)
		tree{"usr/lib/os-release": "IMAGE_VERSION=" + version}.write(t, made)
		if diff := cmp.Diff(readTree(t, made), readTree(t, s.images[version])); diff != "" {
			t.Errorf("image %s: make it again, see TestMakeImages:\n%s", version, diff)
		}
	}
	for name := range imageV1 {
		var first, second unix.Stat_t
		must(t, unix.Lstat(filepath.Join(s.images["1"], name), &first))
		if unix.Lstat(filepath.Join(s.images["2"], name), &second) == nil && first.Ino != second.Ino {
			moved++
		}
	}
	if moved < 10 {
		t.Errorf("only %d files have another number", moved)
	}
}

// The image before is on a device of its own, where the configuration leads to it:
// by the device, by its label, by RAUC's configuration. Nothing was recorded.
func TestBaseOfDevice(t *testing.T) {
	for name, lead := range map[string]func(*config.Config, string){
		"device": func(c *config.Config, device string) { c.Base.Device = device },
		"label": func(c *config.Config, device string) {
			const links = "/dev/disk/by-label"
			must(t, os.MkdirAll(links, 0o755)) // as udev has it
			must(t, os.Symlink(device, filepath.Join(links, "image-a")))
			t.Cleanup(func() { must(t, os.Remove(filepath.Join(links, "image-a"))) })
			c.Base.Label = "image-a"
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := attach(t)
			s.boot("1")
			s.run(nil)
			work(s)
			s.update("2")
			infos, err := mountinfo.GetMounts(mountinfo.SingleEntryFilter(s.images["1"]))
			must(t, err)
			conf := &config.Config{}
			lead(conf, infos[0].Source)
			before, err := OpenPrevious(conf)
			must(t, err)
			s.run(func(o *RunOptions) { o.Base, o.BaseMayDiffer = before.Dir, true })
			must(t, before.Close())
			s.want("after the update", afterV2)
		})
	}
	conf := &config.Config{}
	conf.Base.Label = "no-such-label"
	if _, err := OpenPrevious(conf); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a label that no file system has: %v", err)
	}
}
