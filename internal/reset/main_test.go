// SPDX-License-Identifier: Apache-2.0

package reset

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/test/faultpoint"
	"github.com/ovl-restore/ovl-restore/test/namespace"
)

func TestMain(m *testing.M) {
	faultpoint.Main(scenarios)
	namespace.Main(m)
}

// device is an overlay that tests use, reset and look at.
type device struct {
	*namespace.Overlay
	t *testing.T
}

// newDevice makes an overlay whose image has files, and that was used: a file
// changed, one deleted, one added, a directory replaced.
func newDevice(t *testing.T) *device {
	t.Helper()
	return newDeviceIn(t, namespace.Disk(t))
}

func newDeviceIn(t *testing.T, dir string) *device {
	t.Helper()
	d := &device{Overlay: namespace.NewOverlayIn(t, dir), t: t}
	for name, text := range map[string]string{
		"etc/hostname": "image\n", "etc/passwd": "root\n", "etc/ssh/sshd_config": "image\n",
		"usr/bin/tool": "image\n", "usr/share/doc/a": "a\n", "usr/share/doc/b": "b\n",
	} {
		d.write(d.Lower, name, text)
	}
	d.check(os.Symlink("../usr/bin/tool", filepath.Join(d.Lower, "etc/link")))
	d.use()
	return d
}

func (d *device) check(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d *device) write(root, name, text string) {
	d.t.Helper()
	path := filepath.Join(root, name)
	d.check(os.MkdirAll(filepath.Dir(path), 0o755))
	d.check(os.WriteFile(path, []byte(text), 0o644))
}

// use changes things through the mounted overlay, as users do.
func (d *device) use() {
	d.t.Helper()
	d.Mount(d.t)
	m := d.Merged
	d.write(m, "etc/hostname", "mine\n")
	d.check(os.Remove(filepath.Join(m, "usr/bin/tool")))
	d.check(os.RemoveAll(filepath.Join(m, "usr/share/doc")))
	d.write(m, "usr/share/doc/mine", "mine\n")
	d.write(m, "etc/ssh/key", "secret\n")
	d.check(os.Chmod(filepath.Join(m, "etc/ssh/key"), 0o600))
	d.check(os.Link(filepath.Join(m, "etc/ssh/key"), filepath.Join(m, "etc/ssh/key2")))
	d.write(m, "home/a name\nwith\xffbytes", "mine\n")
	d.Unmount(d.t)
	d.write(d.Upper+storeSuffix, "tx/1/backup/1", "backup\n")
}

func (d *device) overlay() Overlay {
	return Overlay{Mount: "/", Lowers: []string{d.Lower}, Upper: d.Upper, Work: d.Work}
}

func (d *device) place() *Place {
	d.t.Helper()
	p, err := Open(d.overlay())
	d.check(err)
	d.t.Cleanup(func() { _ = p.Close() })
	return p
}

func (d *device) request(order *Order) {
	d.t.Helper()
	d.check(Request([]*Place{d.place()}, order))
}

func (d *device) perform() Outcome {
	d.t.Helper()
	out, err := Perform([]*Place{d.place()}, PerformOptions{})
	d.check(err)
	return out
}

func (d *device) look() Status {
	d.t.Helper()
	s, err := Look(d.t.Context(), []*Place{d.place()})
	d.check(err)
	return s
}

// merged is what a mount of the overlay shows.
func (d *device) merged() map[string]string {
	d.t.Helper()
	d.Mount(d.t)
	defer d.Unmount(d.t)
	return tree(d.t, d.Merged)
}

// tree is what users see of each file below a directory.
func tree(t *testing.T, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		line := fmt.Sprintf("%o %d:%d", st.Mode, st.Uid, st.Gid)
		switch {
		case e.Type().IsRegular():
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %d.%d %q", st.Mtim.Sec, st.Mtim.Nsec, data)
		case e.Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += " -> " + target
		}
		rel, err := filepath.Rel(root, path)
		all[rel] = line
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// beside lists what lies where the upper is, without the overlay's own
// directories.
func (d *device) beside() string {
	d.t.Helper()
	entries, err := os.ReadDir(filepath.Dir(d.Upper))
	d.check(err)
	var names []string
	for _, e := range entries {
		switch e.Name() {
		case "lower", "upper", "work", "merged", "stores":
		default:
			names = append(names, e.Name())
		}
	}
	return strings.Join(names, " ")
}

func missing(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, os.ErrNotExist)
}
