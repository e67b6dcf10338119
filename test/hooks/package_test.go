// SPDX-License-Identifier: Apache-2.0

package hooks

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/test/namespace"
)

// newSystem makes a device whose root is the overlay, with this machine's
// programs in it, and with the hooks where the package manager looks. Its image
// ships a package, in dpkg's or opkg's terms.
func newSystem(t *testing.T, image map[string]string) *device {
	t.Helper()
	d := build(t)
	for name, content := range image {
		write(t, filepath.Join(d.Lower, name), content)
	}
	var shared []string
	for _, dir := range []string{"bin", "sbin", "lib", "lib32", "lib64", "usr", "etc/alternatives"} {
		link, err := os.Readlink(filepath.Join("/", dir))
		switch {
		case err == nil:
			if err := os.Symlink(link, filepath.Join(d.Lower, dir)); err != nil {
				t.Fatal(err)
			}
		case exists(filepath.Join("/", dir)):
			shared = append(shared, dir)
		}
	}
	shared = append(shared, "proc", "dev")
	mkdir := func(dir string) {
		if err := os.MkdirAll(filepath.Join(d.Lower, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range append(shared, "data", "tmp", "run", "integrations") {
		mkdir(dir)
	}
	d.Mount(t)
	for _, dir := range shared {
		namespace.Mount(t, filepath.Join("/", dir), filepath.Join(d.Merged, dir), "", unix.MS_BIND|unix.MS_REC, "")
	}
	// Where the upper is seen from in there, and the hooks.
	namespace.Mount(t, filepath.Dir(d.Upper), filepath.Join(d.Merged, "data"), "", unix.MS_BIND, "")
	namespace.Mount(t, filepath.Join(d.root, "integrations"), filepath.Join(d.Merged, "integrations"), "", unix.MS_BIND, "")
	return d
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// in runs a command in the device's root, which must succeed.
func (d *device) in(t *testing.T, script string) string {
	t.Helper()
	cmd := exec.Command("chroot", d.Merged, "/bin/sh", "-ec", script)
	cmd.Env = append(os.Environ(), "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/data/bin", "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

// wantBack requires the package's file to be gone, and to be back after the next
// boot, and nothing to be asked for after that.
func (d *device) wantBack(t *testing.T, file string) {
	t.Helper()
	d.wantGone(t, filepath.Join(d.Merged, file))
	out := d.in(t, "ovl-restore reconcile /")
	// Its directory comes back with it, where that is gone, too.
	if !regexp.MustCompile("(?m)^restored /" + filepath.Dir(file) + `(/file)? \(remount\) \(queued\)$`).MatchString(out) {
		t.Errorf("the next boot did not restore %s:\n%s", file, out)
	}
	d.wantRead(t, filepath.Join(d.Merged, file), "of the image\n")
	d.wantQueue(t, 0)
}

// wantQueue requires a number of requests to be queued.
func (d *device) wantQueue(t *testing.T, want int) {
	t.Helper()
	names, err := os.ReadDir(d.Upper + ".ovl-restore/queue")
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if len(names) != want {
		t.Errorf("%d requests are queued, want %d", len(names), want)
	}
}

// TestDpkg removes packages with the real dpkg.
func TestDpkg(t *testing.T) {
	cfg, err := os.ReadFile("../../integrations/dpkg/dpkg.cfg")
	if err != nil {
		t.Fatal(err)
	}
	info := "var/lib/dpkg/info/"
	control := "Package: %s\nStatus: install ok installed\nMaintainer: nobody <nobody@example.com>\nArchitecture: all\nVersion: 1\nDescription: test\n"
	d := newSystem(t, map[string]string{
		"etc/os-release":               "IMAGE_ID=test\nIMAGE_VERSION=1\n",
		"etc/dpkg/dpkg.cfg.d/ovl-test": strings.ReplaceAll(string(cfg), "/usr/share/ovl-restore", "/integrations"),
		"var/lib/dpkg/available":       "",
		"var/lib/dpkg/status":          fmt.Sprintf(control+"\n"+control+"\n"+control, "shipped", "other", "third"),
		info + "format":                "1\n",
		info + "shipped.list":          "/.\n/opt\n/opt/shipped\n/opt/shipped/file\n",
		info + "shipped.md5sums":       "",
		info + "other.list":            "/.\n/opt\n/opt/other\n/opt/other/file\n",
		info + "other.md5sums":         "",
		info + "third.list":            "/.\n",
		info + "third.md5sums":         "",
		"opt/shipped/file":             "of the image\n",
		"opt/other/file":               "of the image\n",
		"var/lib/dpkg/updates/.keep":   "",
		"var/lib/dpkg/triggers/.keep":  "",
		"var/log/.keep":                "",
	})
	const remove = "dpkg --remove "
	before := "var/lib/ovl-restore/dpkg-installed"
	d.in(t, "ovl-restore reconcile /")

	d.in(t, remove+"shipped")
	d.wantQueue(t, 1)
	d.wantGone(t, filepath.Join(d.Merged, before))
	d.wantBack(t, "opt/shipped/file")

	// A run of dpkg that removes nothing asks for nothing, neither does one for
	// another root.
	d.in(t, "dpkg --configure --pending")
	d.in(t, "mkdir -p /tmp/root && cp -a /var /tmp/root && "+strings.Replace(remove, "dpkg", "dpkg --root=/tmp/root", 1)+"other")
	d.wantQueue(t, 0)

	// Cut off before the hook's second half: the next run makes up for it.
	const without = "PATH=/usr/sbin:/usr/bin:/sbin:/bin "
	d.in(t, "DPKG_HOOK_ACTION=remove /integrations/dpkg/removed pre; "+without+remove+"other")
	d.wantQueue(t, 0)
	d.in(t, "dpkg --configure --pending")
	d.wantBack(t, "opt/other/file")

	// An image without the tool.
	d.in(t, without+"dpkg --configure --pending")
	d.wantGone(t, filepath.Join(d.Merged, before))
}

// opkg stands for the real one, which Debian does not have. It does what that
// does where hooks are concerned: removing a package, it deletes its files and its
// list, then runs INFO/PACKAGE.postrm by the shell, with "remove" and with
// PKG_ROOT in the environment, deletes that, and writes the status last.
const opkg = `#!/bin/sh
info=/var/lib/opkg/info status=/var/lib/opkg/status
case $1 in
list-installed) sed -n 's/^Package: \(.*\)/\1 - 1/p' $status ;;
remove)
	xargs rm <$info/$2.list
	rm $info/$2.list
	[ ! -e $info/$2.postrm ] || PKG_ROOT=/ PKG_UPGRADE=0 sh -c "$info/$2.postrm remove" || echo "postrm script returned status $?"
	rm -f $info/$2.postrm
	sed -i "/^Package: $2\$/,/^\$/d" $status
	;;
fail) exit 5 ;;
esac
`

// TestOpkg removes packages by way of the wrapper, and one that has the postrm.
func TestOpkg(t *testing.T) {
	info := "var/lib/opkg/info/"
	image := map[string]string{
		"etc/os-release":      "IMAGE_ID=test\nIMAGE_VERSION=1\n",
		"opt/bin/opkg":        opkg,
		"var/lib/opkg/status": "",
	}
	for _, name := range []string{"shipped", "other", "third", "fourth"} {
		image["var/lib/opkg/status"] += "Package: " + name + "\nVersion: 1\n\n"
		image[info+name+".list"] = "/opt/" + name + "/file\n"
		image["opt/"+name+"/file"] = "of the image\n"
	}
	d := newSystem(t, image)
	d.in(t, "chmod 755 /opt/bin/opkg; ovl-restore reconcile /")
	const wrapper = "OVL_RESTORE_OPKG=/opt/bin/opkg /integrations/opkg/opkg "
	before := filepath.Join(d.Merged, "var/lib/ovl-restore/opkg-installed")

	d.in(t, wrapper+"remove shipped")
	d.wantQueue(t, 1)
	d.wantGone(t, before)
	d.wantBack(t, "opt/shipped/file")

	// opkg's own status counts, and its output is its own.
	if out := d.in(t, wrapper+"fail && exit 1; [ $? = 5 ]; "+wrapper+"list-installed"); out != "other - 1\nthird - 1\nfourth - 1\n" {
		t.Errorf("the wrapper printed %q", out)
	}
	d.wantQueue(t, 0)

	// Cut off: the next run makes up for it.
	d.in(t, "mkdir -p /var/lib/ovl-restore; printf 'fourth\\nother\\nthird\\n' >/var/lib/ovl-restore/opkg-installed; /opt/bin/opkg remove other")
	d.in(t, wrapper+"install nothing")
	d.wantGone(t, before)
	d.wantBack(t, "opt/other/file")

	// By the package's own script, and not when an image is built.
	d.in(t, "cp /integrations/opkg/postrm /var/lib/opkg/info/third.postrm; PKG_ROOT=/image/ /var/lib/opkg/info/third.postrm remove; "+
		"D=/image /var/lib/opkg/info/third.postrm remove; PKG_UPGRADE=1 /var/lib/opkg/info/third.postrm remove; /var/lib/opkg/info/third.postrm upgrade 2")
	d.wantQueue(t, 0)
	d.in(t, "/opt/bin/opkg remove third")
	d.wantBack(t, "opt/third/file")

	// An image without the tool.
	d.in(t, "PATH=/usr/bin:/bin "+wrapper+"remove fourth")
	d.wantGone(t, before)
	d.wantGone(t, filepath.Join(d.Merged, "opt/fourth/file"))
}
