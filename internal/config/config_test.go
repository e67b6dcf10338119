// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// tree makes files below a new root, by their absolute paths.
func tree(t *testing.T, files map[string]string) (root string, dirs Dirs) {
	t.Helper()
	root = t.TempDir()
	for path, content := range files {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root, Default.Below(root)
}

func TestLoad(t *testing.T) {
	_, dirs := tree(t, map[string]string{
		"/usr/lib/ovl-restore/ovl-restore.toml": "[reset]\nwipe = true # replaced\n",
		"/etc/ovl-restore/ovl-restore.toml": `
[image]
command = ["print-version", "--short"]
[base]
label = "rootfs-b"
[store]
max-count = 0x10
max-age = "30d"
max-bytes = "64M"
[[overlay]]
mount = "/etc"
lower = "/ro/etc"
upper = "/data//etc/upper"
work = "/data/etc/work"
`,
		"/usr/lib/ovl-restore/ovl-restore.toml.d/50-more.toml": "[store]\nmax-count = 1",
		"/etc/ovl-restore/ovl-restore.toml.d/50-more.toml":     "[[overlay]]\nmount = '/var'\nlower = ['/a', '/b']\n[reconcile]\nprune-orphans = true",
	})
	got, err := Load(dirs)
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{Overlays: []Overlay{
		{Mount: "/etc", Lower: []string{"/ro/etc"}, Upper: "/data/etc/upper", Work: "/data/etc/work"},
		{Mount: "/var", Lower: []string{"/a", "/b"}},
	}}
	want.Image.Command = []string{"print-version", "--short"}
	want.Base.Label = "rootfs-b"
	want.Reconcile.PruneOrphans = true
	want.Reconcile.DeletedButUpdated = "keep"
	want.Store.MaxCount = 16
	want.Store.MaxAge = 30 * 24 * time.Hour
	want.Store.MaxBytes = 64 << 20
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestLoadOfADeviceWithoutConfiguration(t *testing.T) {
	got, err := Load(Default.Below(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	if got.Store.MaxCount == 0 || got.Reconcile.DeletedButUpdated != "keep" || got.Overlays != nil {
		t.Errorf("got %+v", got)
	}
}

func TestFaultsNameTheirPlace(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"syntax", "[store]\nmax-count = \n", ":2: "},
		{"not closed", "[store]\npath = \"/x", ":2: "},
		{"unknown key", "[store]\n\nmaxcount = 1", ":3: store.maxcount: there is no such key"},
		{"key before any table", "path = '/x'", ":1: path: there is no such key"},
		{"dotted key", "store.path = '/x'", ":1: store.path: there is no such key"},
		{"unknown table", "[stroe]\n", `:1: there is no table "stroe"`},
		{"key twice", "[reset]\nwipe=true\nwipe=false", ":3: reset.wipe: it is here twice"},
		{"table twice", "[reset]\n[base]\n[reset]", `:3: the table "reset" is here twice`},
		{"table and array", "[[overlay]]\n[overlay]", `:2: the table "overlay" is here twice`},
		{"string", "[base]\nlabel = 1", ":2: base.label: it takes a string"},
		{"strings", "[reset]\nkeep = ['a', 1]", ":2: reset.keep: it takes a list of strings"},
		{"no list", "[reset]\nkeep = true", ":2: reset.keep: it takes a list of strings"},
		{"bool", "[reset]\nwipe = 'yes'", ":2: reset.wipe: it takes true or false"},
		{"negative", "[store]\nmax-count = -1", ":2: store.max-count: it takes a number"},
		{"too large", "[store]\nmax-count = 99999999999999999999", ":2: store.max-count: 99999999999999999999 is no number of 64 bits"},
		{"age", "[store]\nmax-age = '90 days'", ":2: store.max-age: it takes a time"},
		{"negative age", "[store]\nmax-age = '-1h'", ":2: store.max-age: it takes a time"},
		{"size", "[store]\nmax-bytes = '64MB'", ":2: store.max-bytes: it takes a number of bytes"},
		{"size of nothing", "[store]\nmax-bytes = ''", ":2: store.max-bytes: it takes a number of bytes"},
		{"size of too many bytes", "[store]\nmax-bytes = '9999999T'", ":2: store.max-bytes: it takes a number of bytes"},
		{"word", "[reconcile]\ndeleted-but-updated = 'drop'", `:2: reconcile.deleted-but-updated: it takes one of ["keep" "restore"]`},
		{"relative path", "[[overlay]]\nupper = 'data/etc'", ":2: overlay.upper: it takes an absolute path"},
		{"a date", "[base]\nlabel = 2026-11-25", ":2: base.label: no key takes a value of this kind"},
		{"a table as a value", "[base]\nlabel = { a = 1 }", ":2: base.label: no key takes a value of this kind"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root, dirs := tree(t, map[string]string{"/etc/ovl-restore/ovl-restore.toml": c.text})
			_, err := Load(dirs)
			if fault := (*Error)(nil); !errors.As(err, &fault) {
				t.Fatalf("got %v, want an *Error", err)
			}
			if want := root + "/etc/ovl-restore/ovl-restore.toml" + c.want; !strings.HasPrefix(err.Error(), want) {
				t.Errorf("got  %v\nwant %s…", err, want)
			}
		})
	}
}

func TestDropIns(t *testing.T) {
	root, dirs := tree(t, map[string]string{
		"/usr/lib/ovl-restore/keep.d/10-a.conf":     "a",
		"/usr/lib/ovl-restore/keep.d/20-b.conf":     "b",
		"/usr/lib/ovl-restore/keep.d/30-c.conf":     "c",
		"/usr/lib/ovl-restore/keep.d/40-d.conf":     "d",
		"/usr/lib/ovl-restore/keep.d/README":        "no drop-in",
		"/usr/lib/ovl-restore/keep.d/.50-swap.conf": "no drop-in",
		"/etc/ovl-restore/keep.d/20-b.conf":         "stronger",
		"/etc/ovl-restore/keep.d/30-c.conf":         "",
		"/etc/ovl-restore/keep.d/05-new\nline.conf": "x",
	})
	if err := os.Symlink("/dev/null", filepath.Join(root, "/etc/ovl-restore/keep.d/40-d.conf")); err != nil {
		t.Fatal(err)
	}
	got, err := dirs.DropIns("keep.d", ".conf")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		root + "/etc/ovl-restore/keep.d/05-new\nline.conf",
		root + "/usr/lib/ovl-restore/keep.d/10-a.conf",
		root + "/etc/ovl-restore/keep.d/20-b.conf",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestReadFileWaitsForNothing(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(fifo); err == nil {
		t.Error("read a fifo")
	}
	if _, err := ReadFile(dir); err == nil {
		t.Error("read a directory")
	}
	large := filepath.Join(dir, "large")
	if err := os.WriteFile(large, make([]byte, maxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(large); err == nil {
		t.Error("read a file that is too large")
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("[store]\nmax-bytes = '64M'\n[[overlay]]\nlower = [['a'], {b = 1.5}]"))
	f.Add([]byte("a.b.\"c\" = \"\"\"\n\\u00e9"))
	f.Fuzz(func(t *testing.T, data []byte) {
		err := new(Config).read("f", data)
		if fault := (*Error)(nil); err != nil && (!errors.As(err, &fault) || fault.Line < 1) {
			t.Errorf("%q: %v names no place", data, err)
		}
	})
}
