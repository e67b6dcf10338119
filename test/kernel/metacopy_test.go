// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package kernel

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/ioctl"
)

// metacopy makes a lower file that has its data elsewhere.
func (o *overlay) metacopy(name, redirect string) {
	o.t.Helper()
	o.write(o.lower(name), "")
	o.must(os.Truncate(o.lower(name), int64(len("the data"))))
	o.must(unix.Setxattr(o.lower(name), "trusted.overlay.metacopy", nil, 0))
	if redirect != "" {
		o.must(unix.Setxattr(o.lower(name), "trusted.overlay.redirect", []byte(redirect), 0))
	}
}

// What becomes visible may be a metadata copy in the uppermost lower layer. If
// its data is missing, looking it up would fail, so nothing is changed.
func TestRestoreMetacopy(t *testing.T) {
	o := newOverlay(t)
	below := filepath.Join(filepath.Dir(o.Lower), "below")
	o.metacopy("f", "")
	o.metacopy("moved", "/elsewhere/data")
	o.metacopy("broken", "/nowhere")
	o.write(filepath.Join(below, "f"), "the data")
	o.write(filepath.Join(below, "elsewhere/data"), "the data")
	o.must(unix.Mknod(o.upper("broken"), unix.S_IFCHR, 0))
	o.start("lowerdir="+o.Lower+":"+below, "metacopy=on", "redirect_dir=on")
	for _, name := range []string{"f", "moved"} {
		o.wantContent(name, "the data")
		o.must(os.Chmod(o.merged(name), 0o600))
		o.discard(name)
		o.remove(name)
		o.restore(name)
		o.wantContent(name, "the data")
		o.wantState(name, ioctl.StateNone, 0)
	}
	o.want(o.mount.IsRestorable(o.merged("broken")), unix.EIO)
	o.want(o.tryRestore("broken"), unix.EIO)
	o.wantWhiteout("broken", true)
}

// The same with the data in a layer that has nothing but data.
func TestRestoreFromDataOnlyLayer(t *testing.T) {
	o := newOverlay(t)
	data := filepath.Join(filepath.Dir(o.Lower), "data")
	o.metacopy("f", "/objects/1")
	o.write(filepath.Join(data, "objects/1"), "the data")
	if release(t) == "6.1" {
		return // Linux 6.5 and later know such layers
	}
	o.start("lowerdir="+o.Lower+"::"+data, "metacopy=on", "redirect_dir=on")
	o.wantContent("f", "the data")
	o.remove("f")
	o.restore("f")
	o.wantContent("f", "the data")
	o.must(os.WriteFile(o.merged("f"), []byte("changed"), 0))
	o.discard("f")
	o.wantContent("f", "the data")
	// Nothing in the data layer is visible by its own name.
	o.must(os.Mkdir(o.merged("objects"), 0o755))
	o.write(o.merged("objects/1"), "own")
	o.want(o.tryDiscard("objects/1"), unix.ENODATA)
}
