// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/test/namespace"
)

// cmdMount is mount(8) as people type it, until the script ends.
func cmdMount(ts *testscript.TestScript, neg bool, args []string) {
	var fstype, options string
	var words []string
	for len(args) > 0 {
		f := flag.NewFlagSet("mount", flag.ContinueOnError)
		f.StringVar(&fstype, "t", fstype, "")
		f.StringVar(&options, "o", options, "")
		ts.Check(f.Parse(args))
		args = f.Args()
		if len(args) > 0 {
			words, args = append(words, args[0]), args[1:]
		}
	}
	arg(ts, neg, words, 2)
	source, target := words[0], ts.MkAbs(words[1])
	var flags uintptr
	switch {
	case options == "bind":
		source, options, flags = ts.MkAbs(source), "", unix.MS_BIND
	case fstype == "overlay" && !namespace.Privileged():
		options += ",userxattr"
	}
	if before, ok := strings.CutSuffix(options, ",ro"); ok {
		options, flags = before, unix.MS_RDONLY
	}
	if err := unix.Mount(source, target, fstype, flags, options); err != nil {
		ts.Fatalf("mount -t %s -o %s %s %s: %v", fstype, options, source, target, err)
	}
	ts.Defer(func() {
		err := unix.Unmount(target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			ts.Logf("unmount %s: %v", target, err)
		}
	})
}

func cmdUmount(ts *testscript.TestScript, neg bool, args []string) {
	path := ts.MkAbs(arg(ts, neg, args, 1)[0])
	err := unix.Unmount(path, 0)
	// Another script's tool may be looking at all overlays in this moment.
	for limit := time.Now().Add(10 * time.Second); errors.Is(err, unix.EBUSY) && time.Now().Before(limit); {
		time.Sleep(time.Millisecond)
		err = unix.Unmount(path, 0)
	}
	ts.Check(err)
}

// cmdOverlay makes DIR/lower, upper, work and merged, where they are missing,
// and mounts the overlay: overlay DIR [MNT [OPTION…]]
func cmdOverlay(ts *testscript.TestScript, neg bool, args []string) {
	dir := ts.MkAbs(arg(ts, neg, args, 1)[0])
	target := filepath.Join(dir, "merged")
	if len(args) > 1 {
		target = args[1]
	}
	for _, d := range []string{dir + "/lower", dir + "/upper", dir + "/work", ts.MkAbs(target)} {
		ts.Check(os.MkdirAll(d, 0o755))
	}
	options := []string{"lowerdir=" + dir + "/lower", "upperdir=" + dir + "/upper", "workdir=" + dir + "/work"}
	if len(args) > 2 {
		options = append(options, args[2:]...)
	}
	cmdMount(ts, false, []string{"-t", "overlay", "-o", strings.Join(options, ","), "overlay", target})
}
