// SPDX-License-Identifier: Apache-2.0

// Command unchanged works on overlays as users do, at random but always alike,
// and prints all that it is told: the error of each call, and time and again what
// every name is. A kernel with the patches has to tell the same as one without, for
// none of the new ioctls is used.
//
//	unchanged OPERATIONS    for each kind of overlay
package main

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "unchanged: %v\n", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 2 {
		return errors.New("usage: unchanged OPERATIONS")
	}
	operations, err := strconv.Atoi(os.Args[1])
	if err != nil {
		return err
	}
	// No file that is made has its mode changed by us.
	unix.Umask(0)
	out := bufio.NewWriter(os.Stdout)
	for n, c := range configs {
		fmt.Fprintf(out, "== %s on %s\n", c.options, c.fs)
		o, err := newOverlay(c, "unchanged-"+strconv.Itoa(n), out, rand.New(rand.NewPCG(uint64(n), 1)))
		if err != nil {
			return fmt.Errorf("%s on %s: %w", c.options, c.fs, err)
		}
		if err := o.work(operations); err != nil {
			return fmt.Errorf("%s on %s: %w", c.options, c.fs, err)
		}
	}
	return out.Flush()
}

// config is a kind of overlay.
type config struct {
	fs      string // of the upper
	split   bool   // the lower is on another tmpfs
	options string
}

var configs = []config{
	{"tmpfs", false, "redirect_dir=off"},
	{"tmpfs", false, "redirect_dir=on"},
	{"tmpfs", false, "redirect_dir=on,metacopy=on"},
	{"tmpfs", false, "index=on"},
	{"tmpfs", false, "index=on,nfs_export=on"},
	{"tmpfs", false, "volatile"},
	{"tmpfs", true, "xino=off"},
	{"tmpfs", true, "xino=on,redirect_dir=on"},
	{"tmpfs", true, "xino=auto,index=on"},
	{"ext4", true, "redirect_dir=on"},
	{"ext4", false, "index=on,redirect_dir=on"},
	{"ext4", false, "userxattr"},
}

// scratch is the ext4 disk that guests have.
const scratch = "/scratch"

type overlay struct {
	config
	out  *bufio.Writer
	rand *rand.Rand
	dir  string // of the layers
	low  string
	top  string // the merged directory
	held []*os.File
	seen map[uint64]int // device numbers, which differ from boot to boot
}

func newOverlay(c config, name string, out *bufio.Writer, r *rand.Rand) (*overlay, error) {
	dir := "/" + name
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	o := &overlay{config: c, out: out, rand: r, dir: dir, low: dir, top: "/merged", seen: make(map[uint64]int)}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		return nil, fmt.Errorf("mount a tmpfs: %w", err)
	}
	if c.fs == "ext4" {
		o.dir = scratch + dir
	}
	if !c.split {
		o.low = o.dir
	}
	for _, name := range []string{o.top, o.low + "/l1", o.low + "/l2", o.dir + "/upper", o.dir + "/work"} {
		if err := os.MkdirAll(name, 0o755); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(fill(o.low+"/l1", "one"), fill(o.low+"/l2", "three")); err != nil {
		return nil, err
	}
	if err := o.mount(); err != nil {
		return nil, err
	}
	return o, nil
}

// fill makes a lower layer: of every name there is a file, a directory, or
// nothing, and of some files two names.
func fill(dir, content string) error {
	for n, d := range dirs {
		at := filepath.Join(dir, d)
		if err := os.MkdirAll(at, 0o755); err != nil {
			return err
		}
		for m, name := range names {
			path := filepath.Join(at, name)
			var err error
			switch (n + m + len(content)*int(content[0])) % 5 {
			case 0, 1:
				err = os.WriteFile(path, []byte(content+" "+name), 0o644)
			case 2:
				if err = os.WriteFile(path, []byte(content+" linked"), 0o600); err == nil {
					err = os.Link(path, path+"-linked")
				}
			case 3:
				err = os.Symlink(names[0], path)
			}
			if err != nil && !errors.Is(err, os.ErrExist) {
				return err
			}
		}
	}
	return nil
}

func (o *overlay) mount() error {
	options := fmt.Sprintf("lowerdir=%s/l1:%[1]s/l2,upperdir=%s/upper,workdir=%[2]s/work,%s", o.low, o.dir, o.options)
	if err := unix.Mount("overlay", o.top, "overlay", 0, options); err != nil {
		return fmt.Errorf("mount %s: %w", options, err)
	}
	return nil
}

func (o *overlay) unmount() error {
	for _, f := range o.held {
		if err := f.Close(); err != nil {
			return err
		}
	}
	o.held = nil
	return unix.Unmount(o.top, 0)
}

func (o *overlay) work(operations int) error {
	for n := range operations {
		if err := o.step(n); err != nil {
			return err
		}
		if n%16 == 15 {
			if err := o.show(o.top); err != nil {
				return err
			}
		}
	}
	if err := o.unmount(); err != nil {
		return err
	}
	fmt.Fprintln(o.out, "-- the upper")
	return o.show(o.dir + "/upper")
}
