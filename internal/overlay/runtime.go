// SPDX-License-Identifier: Apache-2.0

package overlay

import "strings"

// runtimes know container runtimes by a part of the paths that they use, in
// whole names: for their layers, or for their mount points.
var runtimes = []struct{ name, part string }{
	{"docker", "docker/overlay2"},
	{"docker", "docker/rootfs"},
	{"docker", "lib/docker"},
	{"buildkit", "buildkit"}, // before containerd: it brings its own
	{"buildkit", "lib/buildkit"},
	{"containerd", "run/containerd"},
	{"containerd", "lib/containerd"},
	{"containerd", "io.containerd.snapshotter.v1.overlayfs"},
	{"containerd", "io.containerd.runtime.v2.task"},
	{"podman", "containers/storage"},
	{"podman", "containers/cache"},
	{"cri-o", "run/crio"},
	{"kubernetes", "lib/kubelet"},
	{"snapd", "lib/snapd"},
	{"snapd", "run/snapd"},
	{"snapd", "snap/core"},
	{"lxc", "lib/lxc"},
	{"lxc", "share/lxc"},
	{"lxd", "lib/lxd"},
	{"lxd", "common/lxd"},
	{"incus", "lib/incus"},
	{"nspawn", "lib/machines"},
	{"waydroid", "lib/waydroid"},
	{"flatpak", "lib/flatpak"},
}

// Runtime names the container runtime that the overlay is of, by its mount point
// and the paths of its layers; "" for none that is known. Such overlays are left
// alone unless they are named.
func (m Mount) Runtime() string {
	paths := []string{m.Point, m.Config.Upper.Path, m.Config.Work.Path}
	for _, l := range append(m.Config.Lowers, m.Config.DataOnly...) {
		paths = append(paths, l.Path)
	}
	for _, r := range runtimes {
		for _, path := range paths {
			if strings.Contains("/"+path+"/", "/"+r.part+"/") {
				return r.name
			}
		}
	}
	return ""
}
