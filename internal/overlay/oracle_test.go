// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/test/namespace"
)

var oracleSeed = flag.Uint64("oracle.seed", 0, "the `seed` of TestDiffOracle; 0 takes a new one")

// The kernel is the oracle: after random operations through a mounted overlay,
// what Diff reports must be the difference between a walk of the merged mount
// and a walk of the lowers, which the kernel merges too.
func TestDiffOracle(t *testing.T) {
	seed := *oracleSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("to repeat: -run %s -oracle.seed=%d", t.Name(), seed)
	for i, options := range []string{
		"", "userxattr", "redirect_dir=on", "redirect_dir=on,metacopy=on", "redirect_dir=on,index=on", "metacopy=on",
	} {
		for lowers := 1; lowers <= 3; lowers++ {
			t.Run(fmt.Sprintf("%s/%d", strings.ReplaceAll(options, ",", "+"), lowers), func(t *testing.T) {
				if options != "" && options != "userxattr" {
					needTrusted(t)
				}
				r := rand.New(rand.NewPCG(seed, uint64(10*i+lowers)))
				runOracle(t, r, options, lowers)
			})
		}
	}
}

const (
	oracleRounds      = 12 // comparisons a layer
	oracleRoundsShort = 2
	oracleOps         = 40 // operations before each
)

// runOracle makes one layer after the other by working on an overlay of those
// made before, as images are made of images.
func runOracle(t *testing.T, r *rand.Rand, options string, lowers int) {
	dir := namespace.Disk(t)
	bottom := filepath.Join(dir, "layer0")
	if err := os.Mkdir(bottom, 0o755); err != nil {
		t.Fatal(err)
	}
	w := &worker{r: r, root: bottom, kinds: map[string]int{}}
	for range 300 {
		w.step()
	}
	if err := ageAll(bottom); err != nil {
		t.Fatal(err)
	}
	layers := []string{bottom}
	for i := range lowers {
		upper := runOracleLayer(t, w, filepath.Join(dir, fmt.Sprint("over", i)), layers, options)
		if err := ageAll(upper); err != nil {
			t.Fatal(err)
		}
		layers = append([]string{upper}, layers...)
	}
	t.Logf("%d operations done, %d refused; deviations by kind: %v", w.done, w.refused, w.kinds)
}

func runOracleLayer(t *testing.T, w *worker, dir string, lowers []string, options string) (upper string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	o := namespace.NewOverlayIn(t, dir)
	mount := []string{"lowerdir=" + strings.Join(lowers, ":")}
	if options != "" {
		mount = append(mount, strings.Split(options, ",")...)
	}
	image := snapshotLowers(t, o, lowers, mount)
	o.Mount(t, mount...)
	w.root = o.Merged
	rounds := oracleRounds
	if testing.Short() {
		rounds = oracleRoundsShort
	}
	for range rounds {
		for range oracleOps {
			w.step()
		}
		if w.r.IntN(4) == 0 {
			o.Unmount(t)
			o.Mount(t, mount...)
		}
		prefix := "trusted.overlay."
		if strings.Contains(options, "userxattr") || !namespace.Privileged() {
			prefix = "user.overlay."
		}
		m := &oracle{t: t, image: image, merged: snapshot(t, o.Merged), upper: readMarks(t, o.Upper, prefix)}
		want := m.expect()
		for _, d := range want {
			w.kinds[d.Kind.String()]++
		}
		checkDiff(t, o.Merged, want)
		if t.Failed() {
			t.FailNow()
		}
	}
	o.Unmount(t)
	return o.Upper
}

// snapshotLowers walks what the kernel shows of the lowers alone.
func snapshotLowers(t *testing.T, o *namespace.Overlay, lowers, mount []string) map[string]seen {
	t.Helper()
	if len(lowers) == 1 {
		return snapshot(t, lowers[0])
	}
	options := slices.DeleteFunc(slices.Clone(mount), func(s string) bool { return s == "index=on" })
	o.Mount(t, append(options, "upperdir=")...)
	defer o.Unmount(t)
	return snapshot(t, o.Merged)
}

// checkDiff compares Diff with what is expected, by content and by times.
func checkDiff(t *testing.T, merged string, want []Deviation) {
	t.Helper()
	o, err := Open(merged, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	}()
	var exact, byTimes []Deviation
	collect := func(into *[]Deviation) func(Deviation) error {
		return func(d Deviation) error {
			d.Compared = 0
			*into = append(*into, d)
			return nil
		}
	}
	opts := DiffOptions{Kinds: AllKinds, Content: true}
	if err := o.Diff(context.Background(), opts, collect(&exact)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, exact); diff != "" {
		t.Errorf("with the content compared (-the kernel's +ours):\n%s", diff)
	}
	opts.Content = false
	if err := o.Diff(context.Background(), opts, collect(&byTimes)); err != nil {
		t.Fatal(err)
	}
	if len(byTimes) != len(want) {
		t.Errorf("by times: %d deviations, want %d", len(byTimes), len(want))
		return
	}
	for i, got := range byTimes {
		// A file that was only touched is taken for a modified one.
		touched := want[i].Kind == Metadata && want[i].Fields&FieldTimes != 0 && got.Kind == Modified
		if got.Path != want[i].Path || got.Kind != want[i].Kind && !touched || got.Hides != want[i].Hides {
			t.Errorf("by times: %+v, want %+v", got, want[i])
		}
	}
}

// seen is what a user sees of an entry.
type seen struct {
	mode     uint32
	uid, gid uint32
	rdev     uint64
	mtime    unix.Timespec // not of directories
	data     string        // content, or target
	xattrs   string
	linked   bool // has other names; of no interest in itself
}

func (s seen) typ() FileType { return FileType(s.mode & unix.S_IFMT) }
func (s seen) isDir() bool   { return s.typ() == unix.S_IFDIR }

func snapshot(t *testing.T, root string) map[string]seen {
	t.Helper()
	all := map[string]seen{}
	err := filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err == nil {
			all[rel], err = look(p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func look(p string) (seen, error) {
	var st unix.Stat_t
	if err := unix.Lstat(p, &st); err != nil {
		return seen{}, err
	}
	s := seen{mode: st.Mode, uid: st.Uid, gid: st.Gid, linked: st.Nlink > 1}
	switch s.typ() {
	case unix.S_IFREG:
		data, err := os.ReadFile(p)
		if err != nil {
			return s, err
		}
		s.data = string(data)
	case unix.S_IFLNK:
		target, err := os.Readlink(p)
		if err != nil {
			return s, err
		}
		s.data = target
	case unix.S_IFCHR, unix.S_IFBLK:
		s.rdev = st.Rdev
	}
	if !s.isDir() {
		s.mtime = st.Mtim
	}
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(p, buf)
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		return s, err
	}
	names := strings.Split(string(buf[:n]), "\x00")
	slices.Sort(names)
	for _, name := range names {
		if name == "" || strings.HasPrefix(name, "trusted.overlay.") || strings.HasPrefix(name, "user.overlay.") {
			continue
		}
		n, err := unix.Lgetxattr(p, name, buf)
		if err != nil {
			return s, err
		}
		s.xattrs += fmt.Sprintf("%s=%q ", name, buf[:n])
	}
	return s, nil
}

// mark is what the upper holds at a path.
type mark struct {
	whiteout, dir, opaque bool
	redirect              string
}

func readMarks(t *testing.T, upper, prefix string) map[string]mark {
	t.Helper()
	all := map[string]mark{}
	err := filepath.WalkDir(upper, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(upper, p)
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		m := mark{whiteout: st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0, dir: e.IsDir()}
		buf := make([]byte, 4096)
		if n, err := unix.Lgetxattr(p, prefix+"opaque", buf); err == nil {
			m.opaque = string(buf[:n]) == "y"
		}
		if n, err := unix.Lgetxattr(p, prefix+"redirect", buf); err == nil {
			m.redirect = string(buf[:n])
		}
		all[rel] = m
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// oracle works out the deviations from the two walks. That a directory is
// opaque or was moved cannot be seen in them: its marks in the upper say it.
type oracle struct {
	t             *testing.T
	image, merged map[string]seen
	upper         map[string]mark
	want          []Deviation
	// The names in the directories of each.
	inImage, inMerged, inUpper map[string][]string
}

func (o *oracle) expect() []Deviation {
	o.inImage, o.inMerged, o.inUpper = children(o.image), children(o.merged), children(o.upper)
	root := Deviation{Path: ".", Type: unix.S_IFDIR, Image: unix.S_IFDIR}
	if root.Fields = differs(o.merged["."], o.image["."]); root.Fields != 0 {
		root.Kind = Metadata
		o.want = append(o.want, root)
	}
	o.dir(".", ".", false)
	return o.want
}

// dir goes over a merged directory, which is compared with base in the image.
func (o *oracle) dir(at, base string, covered bool) {
	names := slices.Concat(o.inMerged[at], o.inUpper[at])
	if !covered && base != "" {
		names = append(names, o.inImage[base]...)
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		baseOf := ""
		if base != "" {
			baseOf = path.Join(base, name)
		}
		o.entry(path.Join(at, name), baseOf, covered)
	}
}

func (o *oracle) entry(at, base string, covered bool) {
	got, shows := o.merged[at]
	was, had := o.image[base]
	up, inUpper := o.upper[at]
	d := Deviation{Path: at, Type: got.typ(), Image: was.typ()}
	switch {
	case !shows && had:
		d.Kind, d.Type = Deleted, was.typ()
	case !shows:
		d.Kind, d.Type = Orphan, 0
	case got.isDir():
		o.directory(d, got, was, base, covered)
		return
	case !had:
		d.Kind = Added
	case got.typ() != was.typ():
		d.Kind = TypeChanged
		if was.isDir() {
			d.Hides = o.allBelow(base)
		}
	case !inUpper && was.linked:
		// With index=on a change through one name of the image's hard link shows
		// under its others too, with no entry in the upper for them.
		return
	default:
		d.Fields = differs(got, was)
		switch {
		case d.Fields&(FieldContent|FieldTarget|FieldDevice) != 0:
			d.Kind = Modified
		case d.Fields != 0:
			d.Kind = Metadata
		case inUpper && !up.whiteout:
			d.Kind = Redundant
		default:
			return
		}
	}
	o.want = append(o.want, d)
}

func (o *oracle) directory(d Deviation, got, was seen, base string, covered bool) {
	up := o.upper[d.Path]
	from := ""
	if !up.opaque && up.redirect != "" {
		from = strings.Trim(up.redirect, "/")
		if !strings.HasPrefix(up.redirect, "/") {
			from = path.Join(path.Dir(base), up.redirect)
		}
		if !o.image[from].isDir() {
			o.t.Fatalf("%s is redirected to %q, which the image does not have as a directory", d.Path, up.redirect)
		}
	}
	switch {
	case from != "":
		d.Kind, d.From = Redirected, from
		if was.isDir() {
			d.Hides = o.allBelow(base)
		}
		d.Fields = differs(got, o.image[from])
		o.want = append(o.want, d)
		o.dir(d.Path, from, false)
		return
	case was.mode == 0:
		d.Kind = Added
	case !was.isDir():
		d.Kind = TypeChanged
	default:
		d.Fields = differs(got, was)
		if up.opaque {
			d.Kind, covered = Opaque, true
			d.Hides = o.hidden(d.Path, base)
		} else {
			d.Kind = Metadata
		}
	}
	if d.Kind != Metadata || d.Fields != 0 {
		o.want = append(o.want, d)
	}
	if !was.isDir() {
		base = ""
	}
	o.dir(d.Path, base, covered)
}

// allBelow counts the image's entries below a directory.
func (o *oracle) allBelow(dir string) (n int64) {
	for _, name := range o.inImage[dir] {
		n += 1 + o.allBelow(path.Join(dir, name))
	}
	return n
}

// hidden counts those that neither the upper has nor a whiteout names.
func (o *oracle) hidden(at, base string) (n int64) {
	for _, name := range o.inImage[base] {
		up, inUpper := o.upper[path.Join(at, name)]
		was := path.Join(base, name)
		switch {
		case !inUpper:
			n += 1 + o.allBelow(was)
		case up.dir && !up.opaque && up.redirect == "" && o.image[was].isDir():
			n += o.hidden(path.Join(at, name), was)
		}
	}
	return n
}

func children[T any](all map[string]T) map[string][]string {
	names := map[string][]string{}
	for p := range all {
		if p != "." {
			names[path.Dir(p)] = append(names[path.Dir(p)], path.Base(p))
		}
	}
	return names
}

func differs(got, was seen) (f Fields) {
	if got.data != was.data {
		f |= FieldContent
		if got.typ() == unix.S_IFLNK {
			f = FieldTarget
		}
	}
	if got.rdev != was.rdev {
		f |= FieldDevice
	}
	if got.mode != was.mode {
		f |= FieldMode
	}
	if got.uid != was.uid || got.gid != was.gid {
		f |= FieldOwner
	}
	if got.xattrs != was.xattrs {
		f |= FieldXattrs
	}
	if got.mtime != was.mtime {
		f |= FieldTimes
	}
	return f
}

// ageAll gives each entry a time of its own in the past, as an image's have:
// what is written from now on has another.
func ageAll(root string) error {
	return filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		past := unix.NsecToTimespec(1e18 + int64(st.Ino)*1e9 + 5)
		times := []unix.Timespec{past, past}
		return unix.UtimesNanoAt(unix.AT_FDCWD, p, times, unix.AT_SYMLINK_NOFOLLOW)
	})
}

// worker does random things below root, as a user would.
type worker struct {
	r             *rand.Rand
	root          string
	done, refused int
	kinds         map[string]int
}

// somewhere is a random path; few names, so that most operations meet what
// others have left.
func (w *worker) somewhere() string {
	p := w.root
	for depth := 1 + w.r.IntN(5); depth > 0; depth-- {
		if w.r.IntN(2) == 0 {
			_ = os.Mkdir(p, 0o755)
		}
		p += "/" + string("abcdef"[w.r.IntN(6)])
	}
	return p
}

// existing is a random path that leads to something, most of the time.
func (w *worker) existing() string {
	p := w.root
	for depth := 1 + w.r.IntN(6); depth > 0; depth-- {
		entries, err := os.ReadDir(p)
		if err != nil || len(entries) == 0 {
			break
		}
		p += "/" + entries[w.r.IntN(len(entries))].Name()
	}
	if p == w.root {
		return w.somewhere()
	}
	return p
}

func (w *worker) step() {
	if err := w.operation(); err != nil {
		w.refused++
		return
	}
	w.done++
}

func (w *worker) operation() error {
	data := bytes.Repeat([]byte{byte('0' + w.r.IntN(10))}, 1+w.r.IntN(5))
	p := w.existing()
	switch w.r.IntN(24) {
	case 0, 1, 2:
		return write(w.somewhere(), data)
	case 3, 4, 5:
		return os.Mkdir(w.somewhere(), 0o755)
	case 6:
		return write(p, data)
	case 7:
		return os.Chmod(p, os.FileMode(0o400|w.r.IntN(0o400)|0o700))
	case 8:
		return os.Lchown(p, w.r.IntN(3), w.r.IntN(3))
	case 9:
		return unix.Lsetxattr(p, fmt.Sprint("user.x", w.r.IntN(2)), data, 0)
	case 10:
		return unix.Lremovexattr(p, fmt.Sprint("user.x", w.r.IntN(2)))
	case 11, 12:
		return os.Rename(p, w.somewhere())
	case 13:
		return os.Rename(p, w.existing())
	case 14:
		return os.Link(p, w.somewhere())
	case 15:
		return os.Remove(p)
	case 16:
		return w.removeAll(p)
	case 17: // away, and something else there
		if err := w.removeAll(p); err != nil {
			return err
		}
		return os.Mkdir(p, 0o755)
	case 18:
		return os.Symlink(string(data), w.somewhere())
	case 19:
		then := time.Unix(5e8+int64(w.r.IntN(1e6)), 7)
		return os.Chtimes(p, then, then)
	case 20:
		return w.node()
	case 21:
		return os.Truncate(p, int64(w.r.IntN(3)))
	case 22: // a copy-up that changes nothing
		f, err := os.OpenFile(p, os.O_RDWR|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
		if err != nil {
			return err
		}
		return f.Close()
	default:
		return unix.Lsetxattr(p, "system.posix_acl_access", acl(uint16(w.r.IntN(8))), 0)
	}
}

// removeAll spares what is near the top, most of the time: something has to be
// left to work on.
func (w *worker) removeAll(p string) error {
	if strings.Count(p[len(w.root):], "/") < 3 && w.r.IntN(4) > 0 {
		return os.Remove(p)
	}
	return os.RemoveAll(p)
}

// write does not wait for somebody to read from a fifo.
func write(p string, data []byte) error {
	f, err := os.OpenFile(p, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// node makes a special file.
func (w *worker) node() error {
	switch w.r.IntN(3) {
	case 0:
		return unix.Mkfifo(w.somewhere(), 0o600)
	case 1:
		return unix.Mknod(w.somewhere(), unix.S_IFSOCK|0o600, 0)
	}
	if !namespace.Privileged() {
		return unix.EPERM
	}
	return unix.Mknod(w.somewhere(), unix.S_IFCHR|0o600, int(unix.Mkdev(1, uint32(3+2*w.r.IntN(2)))))
}

// acl is an access control list that gives user 1 the permissions perm.
func acl(perm uint16) []byte {
	list := []byte{2, 0, 0, 0}
	entry := func(tag, perm uint16, id uint32) {
		list = append(list, byte(tag), byte(tag>>8), byte(perm), byte(perm>>8),
			byte(id), byte(id>>8), byte(id>>16), byte(id>>24))
	}
	entry(1, 7, ^uint32(0))
	entry(2, perm, 0)
	entry(4, 5, ^uint32(0))
	entry(16, 7, ^uint32(0))
	entry(32, 5, ^uint32(0))
	return list
}
