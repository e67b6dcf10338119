// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

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
	done, compared := 0, 0
	for i, options := range []string{
		"", "userxattr", "redirect_dir=on", "redirect_dir=on,metacopy=on", "redirect_dir=on,index=on", "metacopy=on",
	} {
		for lowers := 1; lowers <= 3; lowers++ {
			if testing.Short() && lowers == 2 {
				continue // between the others
			}
			t.Run(fmt.Sprintf("%s/%d", strings.ReplaceAll(options, ",", "+"), lowers), func(t *testing.T) {
				if options != "" && options != "userxattr" {
					needTrusted(t)
				}
				w := &worker{r: rand.New(rand.NewPCG(seed, uint64(10*i+lowers))), kinds: map[string]int{}}
				runOracle(t, w, options, lowers)
				done += w.done
				compared += w.compared
			})
		}
	}
	t.Logf("%d operations through mounted overlays, %d comparisons with what the kernel shows", done, compared)
	if done < 900 && flag.Lookup("test.run").Value.String() == "" {
		t.Errorf("%d operations are too few to say anything", done)
	}
}

const (
	oracleRounds      = 12 // comparisons a layer
	oracleRoundsShort = 2
	oracleOps         = 40 // operations before each
)

// runOracle makes one layer after the other by working on an overlay of those
// made before, as images are made of images.
func runOracle(t *testing.T, w *worker, options string, lowers int) {
	dir := namespace.Disk(t)
	bottom := filepath.Join(dir, "layer0")
	if err := os.Mkdir(bottom, 0o755); err != nil {
		t.Fatal(err)
	}
	w.root = bottom
	for range 150 {
		w.step()
	}
	w.done, w.refused = 0, 0 // those were not through an overlay
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
		w.compared++
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
