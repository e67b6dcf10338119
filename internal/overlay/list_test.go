// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/test/namespace"
)

func TestEachOverlayIsListedOnce(t *testing.T) {
	got := distinct([]Mount{
		{Dev: 1, Point: "/etc/sub", Root: "/sub"},
		{Dev: 2, Point: "/usr", Root: "/"},
		{Dev: 1, Point: "/etc", Root: "/"},
		{Dev: 1, Point: "/mnt", Root: "/"},
	})
	want := []Listed{
		{Mount{Dev: 1, Point: "/etc", Root: "/"}, []string{"/etc/sub", "/mnt"}},
		{Mount{Dev: 2, Point: "/usr", Root: "/"}, nil},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What is mounted over an overlay's mount point is not taken for it.
func TestOpenListedOpensTheRightOne(t *testing.T) {
	s, over := newStage(t), newStage(t)
	s.mount()
	over.Merged = s.Merged
	listed := func(dev uint64) Listed {
		t.Helper()
		all, err := List()
		s.must(err)
		for _, l := range all {
			if l.Dev == dev {
				return l
			}
		}
		t.Fatalf("the overlay is not listed")
		return Listed{}
	}
	below := s.open().Mount.Dev
	namespace.Mount(t, "over", s.Merged, "tmpfs", 0, "")
	if _, err := OpenListed(listed(below), Options{}); !errors.Is(err, errCovered) {
		t.Errorf("covered by a tmpfs: %v", err)
	}
	s.must(unix.Unmount(s.Merged, 0))
	over.mount()
	if _, err := OpenListed(listed(below), Options{}); !errors.Is(err, errCovered) {
		t.Errorf("covered by another overlay: %v", err)
	}
	bind := t.TempDir()
	over.Unmount(t)
	namespace.Mount(t, s.Merged, bind, "", unix.MS_BIND, "")
	over.mount()
	o, err := OpenListed(listed(below), Options{})
	s.must(err)
	if o.Mount.Point != bind {
		t.Errorf("opened on %q, want the bind %q", o.Mount.Point, bind)
	}
	s.must(o.Close())
}

func TestContainerRuntimesAreKnown(t *testing.T) {
	for _, c := range []struct{ point, upper, lower, want string }{
		{"/etc", "/data/overlay/etc/upper", "/etc", ""},
		{"/", "/overlay/upper", "/rom", ""},
		{"/home/docker/etc", "/home/docker/upper", "/home/docker/lower", ""},
		{"/srv/containers", "/srv/upper", "/srv/lower", ""},
		{"/var/lib/docker/overlay2/0f/merged", "/var/lib/docker/overlay2/0f/diff", "l/ABC:l/DEF", "docker"},
		{"/mnt/data/docker/overlay2/0f/merged", "u", "l", "docker"},
		{
			"/run/containerd/io.containerd.runtime.v2.task/k8s.io/1/rootfs",
			"/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/2/fs", "l", "containerd",
		},
		{"/home/u/.local/share/containers/storage/overlay/1/merged", "u", "l", "podman"},
		{"/var/lib/buildkit/runc-overlayfs/executor/1/rootfs", "u", "l", "buildkit"},
		{"/var/lib/lxc/c/rootfs", "u", "l", "lxc"},
		{"/mnt", "/var/lib/snapd/u", "l", "snapd"},
	} {
		m := Mount{Point: c.point, Config: parseConfig("rw,lowerdir=" + c.lower + ",upperdir=" + c.upper + ",workdir=w")}
		if got := m.Runtime(); got != c.want {
			t.Errorf("%s: %q, want %q", c.point, got, c.want)
		}
	}
}
