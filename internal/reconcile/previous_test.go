// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/ovl-restore/ovl-restore/internal/config"
)

const systemConf = `[system]
compatible=test
bootloader=custom

# [slot.rootfs.9]
[slot.rootfs.0]
device=/dev/disk/by-partlabel/root-a
type=raw
bootname=A

[slot.rootfs.1]
device = /dev/disk/by-partlabel/root-b
bootname=B

[slot.boot.0]
device=/dev/boot
`

func TestOtherSlot(t *testing.T) {
	for _, test := range []struct{ cmdline, want string }{
		{"quiet rauc.slot=A ro\n", "/dev/disk/by-partlabel/root-b"},
		{"rauc.slot=B", "/dev/disk/by-partlabel/root-a"},
		{"rauc.slot=rootfs.1", "/dev/disk/by-partlabel/root-a"},
		{"rauc.slot=boot.0", ""},
		{"rauc.slot=C", ""},
		{"quiet", ""},
		{"root=/dev/disk/by-partlabel/root-b ro", "/dev/disk/by-partlabel/root-a"},
		{"root=/dev/other", ""},
		{"root=/dev/disk/by-partlabel/root-b rauc.slot=A", "/dev/disk/by-partlabel/root-b"},
		{"root=PARTLABEL=root-a", "/dev/disk/by-partlabel/root-b"},
		{"root=PARTUUID=0815-02", "/dev/disk/by-partlabel/root-a"},
		{"root=UUID=0815", "/dev/disk/by-partlabel/root-a"},
		{"root=/dev/mmcblk0p3", "/dev/disk/by-partlabel/root-a"},
		{"root=/dev/mapper/root systemd.verity_root_data=PARTUUID=0815-02", ""},
		{"systemd.verity_root_data=PARTUUID=0815-02", "/dev/disk/by-partlabel/root-a"},
		{"bootstate.active=A", "/dev/disk/by-partlabel/root-b"},
		{"bootchooser.active=B", "/dev/disk/by-partlabel/root-a"},
		{"rauc.external root=PARTLABEL=root-a", ""},
		{"rauc.slot=A rauc.slot=B", "/dev/disk/by-partlabel/root-b"},
	} {
		root := t.TempDir()
		for name, data := range map[string]string{"proc/cmdline": test.cmdline, "etc/rauc/system.conf": systemConf} {
			must(t, os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755))
			must(t, os.WriteFile(filepath.Join(root, name), []byte(data), 0o644))
		}
		for link, device := range map[string]string{
			"by-partlabel/root-a": "mmcblk0p2", "by-partlabel/root-b": "mmcblk0p3", "by-partuuid/0815-02": "mmcblk0p3", "by-uuid/0815": "mmcblk0p3",
		} {
			link = filepath.Join(root, "dev/disk", link)
			must(t, os.MkdirAll(filepath.Dir(link), 0o755))
			must(t, os.Symlink("../../"+device, link))
			must(t, os.WriteFile(filepath.Join(root, "dev", device), nil, 0o600))
		}
		got, err := otherSlot(root)
		if got != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%q: got %q, %v, want %q", test.cmdline, got, err, test.want)
		}
	}
	if _, err := otherSlot(t.TempDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without RAUC: %v", err)
	}
}

// What the configuration leads to is used only where it is the image that the
// upper was fitted to.
func TestConfiguredBase(t *testing.T) {
	s := newStage(t)
	s.image("1", imageV1)
	s.image("2", imageV2)
	s.image("0", tree{"etc/app.conf": "mine"})
	s.boot("1")
	s.run(nil)
	work(s)
	s.update("2")
	conf := &config.Config{}
	conf.Base.Path = s.images["0"]
	base, err := OpenPrevious(conf)
	must(t, err)
	seen := s.seen()
	s.run(func(o *RunOptions) { o.Base, o.BaseMayDiffer, o.DryRun = base.Dir, true, true })
	report := s.run(func(o *RunOptions) { o.Base, o.BaseMayDiffer, o.DryRun = s.images["1"], true, true })
	for _, r := range report.Results {
		if r.Reason == NoBaseline {
			t.Errorf("%s: %v", r.Rel, r.Decision)
		}
	}
	s.run(func(o *RunOptions) { o.Base, o.BaseMayDiffer = base.Dir, true })
	s.want("with an image that is not the one before", seen)
}
