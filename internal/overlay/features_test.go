// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/test/namespace"
)

// feature is something that an overlay can hold, made by a user through the
// mount, and what differs from the image then. No check complains of it.
type feature struct {
	name    string
	options string // of the mount, separated by commas
	trusted bool   // only with trusted.* attributes
	lower   []string
	before  func(s *stage) // in the lower
	act     func(s *stage) // through the overlay
	want    []string       // see featureLines
}

var overlayFeatures = []feature{
	{
		name: "several lowers", lower: []string{"both", "hidden", "d/one"},
		before: func(s *stage) {
			fill(s.t, s.middle(), "both", "top", "d/two", "e/")
			s.must(unix.Mknod(s.middle()+"/hidden", unix.S_IFCHR, 0))
		},
		act: func(s *stage) {
			s.write("both", "edited")
			s.write("hidden", "anew") // the image does not show it
			s.remove("top", "d/one")
			s.write("d/two", "edited")
		},
		want: []string{"M both content,times", "D d/one", "M d/two content,times", "A hidden", "D top"},
	},
	{
		name: "opaque", lower: []string{"d/a", "d/deep/b", "d/deep/er/c", "d/kept/x"},
		act: func(s *stage) {
			s.remove("d")
			s.must(os.MkdirAll(s.merged("d/deep/er"), 0o755))
			s.write("d/deep/b", "mine")
			s.write("d/own", "mine")
		},
		want: []string{"O d hides 4", "M d/deep/b content,times", "A d/own"},
	},
	{
		name: "below a deleted parent", lower: []string{"a/b/c/d", "a/x", "y/z"},
		act: func(s *stage) {
			s.remove("a/b/c")
			s.write("a/b/new", "mine")
			s.remove("a", "y/z")
		},
		want: []string{"D a", "D y/z"},
	},
	{
		name: "absolute redirect", options: "redirect_dir=on", trusted: true, lower: []string{"d/sub/f", "d/sub/g"},
		act: func(s *stage) {
			s.must(os.Rename(s.merged("d/sub"), s.merged("moved")))
			s.write("moved/f", "edited")
			s.wantMark("moved", "redirect", "/d/sub")
		},
		want: []string{"D d/sub", "R moved from d/sub", "M moved/f content,times"},
	},
	{
		name: "relative redirect", options: "redirect_dir=on", trusted: true, lower: []string{"d/sub/f", "d/sub/g", "d/over"},
		act: func(s *stage) {
			s.remove("d/over")
			s.must(os.Rename(s.merged("d/sub"), s.merged("d/over")))
			s.remove("d/over/g")
			s.wantMark("d/over", "redirect", "sub")
		},
		want: []string{"R d/over from d/sub", "D d/over/g", "D d/sub"},
	},
	{
		name: "metacopy", options: "metacopy=on,redirect_dir=on", trusted: true, lower: []string{"f", "g", "h"},
		act: func(s *stage) {
			s.must(os.Chmod(s.merged("f"), 0o600))
			s.wantMark("f", "metacopy", "")
			s.must(os.Chmod(s.merged("g"), 0o600))
			s.must(os.Rename(s.merged("g"), s.merged("moved")))
			s.must(os.Chmod(s.merged("h"), 0o600))
			s.must(os.Chmod(s.merged("h"), 0o644))
		},
		want: []string{"P f mode", "D g", "= h", "A moved"},
	},
	{
		name: "hard links", lower: []string{"f", "one"},
		before: func(s *stage) { s.must(os.Link(s.inLower("one"), s.inLower("two"))) },
		act: func(s *stage) {
			s.must(os.Link(s.merged("f"), s.merged("linked")))
			s.write("one", "edited") // a copy-up breaks the link
		},
		want: []string{"= f", "A linked", "M one content,times"},
	},
	{
		name: "hard links with an index", options: "index=on", trusted: true, lower: []string{"one"},
		before: func(s *stage) { s.must(os.Link(s.inLower("one"), s.inLower("two"))) },
		act:    func(s *stage) { s.must(os.Chmod(s.merged("one"), 0o600)) }, // of both, and the upper has the one
		want:   []string{"P one mode"},
	},
	{
		name: "devices", trusted: true,
		before: func(s *stage) {
			for i, name := range []string{"null", "same", "disk"} {
				s.must(unix.Mknod(s.inLower(name), []uint32{unix.S_IFCHR, unix.S_IFCHR, unix.S_IFBLK}[i]|0o600, int(unix.Mkdev(1, 3))))
			}
		},
		act: func(s *stage) {
			s.remove("null", "disk")
			s.must(unix.Mknod(s.merged("null"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 5))))
			s.must(os.Chmod(s.merged("same"), 0o640))
			s.must(unix.Mknod(s.merged("new"), unix.S_IFBLK|0o600, int(unix.Mkdev(7, 0))))
		},
		want: []string{"D disk", "A new", "M null device,times", "P same mode"},
	},
	{
		name: "fifos and sockets", lower: []string{"file"},
		before: func(s *stage) {
			for _, name := range []string{"fifo", "socket"} {
				s.must(unix.Mknod(s.inLower(name), map[string]uint32{"fifo": unix.S_IFIFO, "socket": unix.S_IFSOCK}[name]|0o600, 0))
			}
		},
		act: func(s *stage) {
			s.must(os.Chmod(s.merged("fifo"), 0o640))
			s.must(os.Chmod(s.merged("socket"), 0o640))
			s.remove("file")
			s.must(unix.Mkfifo(s.merged("file"), 0o600))
			s.must(unix.Mknod(s.merged("new"), unix.S_IFSOCK|0o600, 0))
		},
		want: []string{"P fifo mode", "T file", "A new", "P socket mode"},
	},
	{
		name: "symbolic links", lower: []string{"l -> here", "m -> here", "n -> here"},
		act: func(s *stage) {
			s.remove("l", "m")
			s.must(os.Symlink("there", s.merged("l")))
			s.must(os.Symlink("elsewhere", s.merged("m")))
			s.must(unix.Lchown(s.merged("n"), 0, 0))
		},
		want: []string{"M l target,times", "M m target,times", "= n"},
	},
	{
		name: "file capabilities", trusted: true, lower: []string{"given", "taken"},
		before: func(s *stage) { s.must(unix.Setxattr(s.inLower("taken"), "security.capability", netRaw, 0)) },
		act: func(s *stage) {
			s.must(unix.Setxattr(s.merged("given"), "security.capability", netRaw, 0))
			s.must(unix.Removexattr(s.merged("taken"), "security.capability"))
		},
		want: []string{"P given xattrs", "P taken xattrs"},
	},
	{
		name: "access control lists", lower: []string{"f", "d/f"},
		act: func(s *stage) {
			s.must(unix.Setxattr(s.merged("f"), "system.posix_acl_access", acl(6), 0))
			s.must(unix.Setxattr(s.merged("d"), "system.posix_acl_default", acl(6), 0))
		},
		want: []string{"P d xattrs", "P f mode,xattrs"},
	},
	{
		name: "attributes", lower: []string{"f", "g"},
		act: func(s *stage) {
			s.must(unix.Setxattr(s.merged("f"), "user.note", []byte("x"), 0))
			s.must(unix.UtimesNano(s.merged("g"), []unix.Timespec{{Sec: 1e9}, {Sec: 1e9}}))
		},
		want: []string{"P f xattrs", "P g times"},
	},
}

// netRaw is struct vfs_cap_data, with CAP_NET_RAW.
var netRaw = []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

// middle is another lower, over the stage's own.
func (s *stage) middle() string { return filepath.Join(filepath.Dir(s.Lower), "middle") }

// wantMark checks an overlay xattr that the kernel has set.
func (s *stage) wantMark(rel, key, want string) {
	s.t.Helper()
	buf := make([]byte, 256)
	n, err := unix.Lgetxattr(s.inUpper(rel), s.xattr(key), buf)
	if err != nil || string(buf[:n]) != want {
		s.t.Fatalf("%s of %s: %q, %v, want %q", key, rel, buf[:max(n, 0)], err, want)
	}
}

// featureLines are the deviations by content: letter, path, and what differs.
func (s *stage) featureLines() (all []string) {
	s.t.Helper()
	o, err := Open(s.Merged, Options{})
	s.must(err)
	defer func() { s.must(o.Close()) }()
	s.must(o.Diff(context.Background(), DiffOptions{Kinds: AllKinds, Content: true}, func(d Deviation) error {
		line := fmt.Sprintf("%c %s", d.Kind.Letter(), d.Path)
		if d.Hides > 0 {
			line += fmt.Sprintf(" hides %d", d.Hides)
		}
		if d.From != "" {
			line += " from " + d.From
		}
		if d.Fields != 0 {
			line += " " + strings.Join(d.Fields.Names(), ",")
		}
		all = append(all, line)
		return nil
	}))
	return all
}

// Whatever an overlay can hold, diff knows what it is and check finds no fault
// with it, mounted or not: with trusted.* and with user.* attributes.
func TestEveryFeature(t *testing.T) {
	for _, f := range overlayFeatures {
		for _, userxattr := range []bool{false, true} {
			if userxattr && (f.trusted || f.options != "") || !userxattr && !namespace.Privileged() {
				continue
			}
			t.Run(f.name+map[bool]string{true: "/userxattr"}[userxattr], func(t *testing.T) {
				s := newStage(t)
				s.userxattr = userxattr
				s.fillLower(f.lower...)
				if f.before != nil {
					f.before(s)
				}
				s.must(ageAll(s.Lower))
				var options []string
				if f.options != "" {
					options = strings.Split(f.options, ",")
				}
				lowers := []string{s.Lower}
				if err := ageAll(s.middle()); err == nil {
					lowers = []string{s.middle(), s.Lower}
					options = append(options, "lowerdir="+strings.Join(lowers, ":"))
				} else if !errors.Is(err, os.ErrNotExist) {
					t.Fatal(err)
				}
				s.mount(options...)
				f.act(s)
				wantLines(t, s.featureLines(), f.want...)
				wantFound(t, s.check())
				s.Unmount(t)
				u, err := OpenUnmounted(Directories{Upper: s.Upper, Lowers: lowers, Work: s.Work}, LayerOptions{UserXattr: userxattr})
				s.must(err)
				findings, err := u.Check(context.Background(), CheckOptions{})
				s.must(errors.Join(err, u.Close()))
				wantFound(t, findings)
				// A later mount shows the same, and what is told of it is the same.
				s.mount(options...)
				wantLines(t, s.featureLines(), f.want...)
			})
		}
	}
}
