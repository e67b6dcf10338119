// SPDX-License-Identifier: Apache-2.0

package reset

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovl-restore/ovl-restore/test/namespace"
)

func TestSources(t *testing.T) {
	d := &device{Overlay: namespace.NewOverlay(t), t: t}
	root := d.Lower
	d.write(root, "etc/fstab", `# comment
/dev/mmcblk0p3 /data ext4 defaults 0 2
overlay /etc overlay lowerdir=/etc,upperdir=/data/etc,workdir=/data/etc\040work,x-systemd.requires=/data 0 0
overlay /opt overlay lowerdir=/opt:/a\134:b::/data,upperdir=/data/opt,workdir=/data/w
overlay /ro overlay lowerdir=/a:/b 0 0
overlay
`)
	d.write(root, "usr/lib/systemd/system/var.mount", `[Unit]
Where=/wrong
[Mount]
What=overlay
Where=/var
Type = overlay
Options=lowerdir=/var,upperdir=/data/var,\
  workdir=/data/var.work
`)
	d.write(root, "usr/lib/systemd/system/data.mount", "[Mount]\nWhere=/data\nType=ext4\n")
	d.write(root, "usr/lib/systemd/system/home.mount", "[Mount]\nWhere=/home\nType=overlay\nOptions=upperdir=/u\n")
	d.check(os.MkdirAll(filepath.Join(root, "etc/systemd/system"), 0o755))
	d.check(os.Symlink("/dev/null", filepath.Join(root, "etc/systemd/system/home.mount")))

	got, err := FromFstab(root)
	d.check(err)
	at := func(path string) string { return filepath.Join(root, path) }
	want := []Overlay{
		{Mount: "/etc", Lowers: []string{at("etc")}, Upper: at("data/etc"), Work: at("data/etc work"), Store: "data-etc.ovl-restore"},
		{Mount: "/opt", Lowers: []string{at("opt"), at("a:b")}, Upper: at("data/opt"), Work: at("data/w"), Store: "data-opt.ovl-restore"},
	}
	if !cmp.Equal(want, got) {
		t.Errorf("fstab: %s", cmp.Diff(want, got))
	}
	got, err = FromUnits(root)
	d.check(err)
	want = []Overlay{
		{Mount: "/var", Lowers: []string{at("var")}, Upper: at("data/var"), Work: at("data/var.work"), Store: "data-var.ovl-restore"},
	}
	if !cmp.Equal(want, got) {
		t.Errorf("units: %s", cmp.Diff(want, got))
	}
	for _, from := range []func(string) ([]Overlay, error){FromFstab, FromUnits} {
		if all, err := from(d.Work); err != nil || len(all) != 0 {
			t.Errorf("of nothing: %v, %v", all, err)
		}
	}
}
