// SPDX-License-Identifier: Apache-2.0

package reset

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/test/namespace"
)

func TestOrderRoundTrip(t *testing.T) {
	want := &Order{
		ID: "abc", Time: time.Unix(1, 0).UTC(), By: "a \"name\"\n", Mounts: []string{"/", "/a\xff"},
		Keep: []string{"/x y", "/z\n"}, Wipe: true,
	}
	data := want.encode()
	got, err := decode(data)
	if err != nil || !cmp.Equal(want, got) {
		t.Errorf("%v: %s", err, cmp.Diff(want, got))
	}
	for n := range data {
		if o, err := decode(data[:n]); err == nil {
			t.Errorf("cut after %d bytes: %+v", n, o)
		}
		bad := bytes.Clone(data)
		bad[n] ^= 1
		if o, err := decode(bad); err == nil {
			t.Errorf("byte %d changed: %+v", n, o)
		}
	}
}

// What is no request never resets, never keeps a system from booting, and is
// told.
func TestForeignMarkers(t *testing.T) {
	for name, spoil := range map[string]func(d *device, dir, request string){
		"empty":          func(d *device, _, request string) { d.check(os.Truncate(request, 0)) },
		"half":           func(d *device, _, request string) { d.check(os.Truncate(request, 40)) },
		"foreign":        func(d *device, _, request string) { d.check(os.WriteFile(request, []byte("reset=yes\n"), 0o600)) },
		"huge":           func(d *device, _, request string) { d.check(os.Truncate(request, 1<<40)) },
		"others' group":  func(d *device, _, request string) { d.check(os.Chmod(request, 0o620)) },
		"open directory": func(d *device, dir, _ string) { d.check(os.Chmod(dir, 0o777)) },
		"fifo": func(d *device, _, request string) {
			d.check(os.Remove(request))
			d.check(unix.Mkfifo(request, 0o600))
		},
		"directory": func(d *device, _, request string) {
			d.check(os.Remove(request))
			d.check(os.Mkdir(request, 0o700))
		},
		"symbolic link": func(d *device, dir, request string) {
			d.check(os.Rename(request, filepath.Join(dir, "real")))
			d.check(os.Symlink("real", request))
		},
		"linked directory": func(d *device, dir, _ string) {
			d.check(os.Rename(dir, dir+".real"))
			d.check(os.Symlink(dir+".real", dir))
		},
		"file for the directory": func(d *device, dir, _ string) {
			d.check(os.RemoveAll(dir))
			d.check(os.WriteFile(dir, nil, 0o600))
		},
		"of somebody else": func(d *device, _, request string) {
			if err := os.Chown(request, 1, 1); err != nil { // a user name space of one user
				d.check(os.Chmod(request, 0o622))
			}
		},
		"directory of somebody else": func(d *device, dir, _ string) {
			if err := os.Chown(dir, 1, 1); err != nil {
				d.check(os.Chmod(dir, 0o722))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t)
			d.request(&Order{})
			dir := d.Upper + Suffix
			spoil(d, dir, filepath.Join(dir, fileRequest))
			used := d.merged()
			out := d.perform()
			if len(out.Done) != 0 || len(out.Ignored) != 1 || !errors.As(out.Ignored[0], new(*ForeignError)) {
				t.Errorf("perform: %+v", out)
			}
			if got := d.merged(); !cmp.Equal(used, got) {
				t.Error(cmp.Diff(used, got))
			}
			if s := d.look(); len(s.Ignored) != 1 || s.State != None {
				t.Errorf("%+v", s)
			}
		})
	}
}

// A request cannot be planted by who only sees the merged view: there, what
// looks like one is a file of the upper.
func TestMarkerInMergedView(t *testing.T) {
	d := newDevice(t)
	d.request(&Order{})
	marker := filepath.Join(d.Upper+Suffix, fileRequest)
	data, err := os.ReadFile(marker)
	d.check(err)
	_, err = Cancel([]*Place{d.place()})
	d.check(err)
	d.Mount(t)
	for _, dir := range []string{"upper" + Suffix, Suffix, "etc"} {
		d.write(d.Merged, dir+"/"+fileRequest, string(data))
	}
	d.Unmount(t)
	if out := d.perform(); len(out.Done) != 0 {
		t.Errorf("%+v", out)
	}
}

func TestOnlyRootRequests(t *testing.T) {
	if !namespace.Privileged() {
		t.Skip("a user name space with one user: there is no other owner")
	}
	d := newDevice(t)
	asUser(t, func() error {
		if err := Request([]*Place{d.place()}, &Order{}); !errors.Is(err, unix.EPERM) {
			t.Errorf("request: %v", err)
		}
		if _, err := Cancel([]*Place{d.place()}); !errors.Is(err, unix.EPERM) {
			t.Errorf("cancel: %v", err)
		}
		return nil
	})
	if got := d.beside(); got != "upper"+storeSuffix {
		t.Errorf("beside the upper: %s", got)
	}
}
