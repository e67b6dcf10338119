// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/ioctl"
)

// raceTime is how long the race lasts: seconds in each run of the tests, and four
// minutes by make test-kernel-race.
func raceTime(t testing.TB) time.Duration {
	t.Helper()
	s := os.Getenv("OVL_RACE")
	if s == "" {
		return 3 * time.Second
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

var raceOptions = []string{"", "redirect_dir=on", "metacopy=on,redirect_dir=on", "index=on"}

// TestRace lets eight threads remove, restore, discard, create, rename, link
// and open the same names. Whatever they find must be whole: what a lower file
// holds, or what one of them wrote at once. In the end every name is made to
// show the lower layer again, and no two names may be one file by mistake.
func TestRace(t *testing.T) {
	share := raceTime(t) / time.Duration(len(raceOptions))
	for _, options := range raceOptions {
		name := options
		if name == "" {
			name = "default"
		}
		t.Run(name, func(t *testing.T) {
			o := newOverlay(t)
			r := &race{overlay: o, end: time.Now().Add(share)}
			r.fill()
			if options == "" {
				o.start()
			} else {
				o.start(strings.Split(options, ",")...)
			}
			r.run(8)
			r.settle()
		})
	}
}

type race struct {
	*overlay
	end   time.Time
	token atomic.Int64
	done  [16]atomic.Int64
}

var (
	raceFiles = []string{"a", "b", "c", "dir/a", "dir/b"}
	raceDirs  = []string{"p", "q"}
	// whole is what a file may hold: the end tells a whole one from one cut off.
	whole = regexp.MustCompile(`^(lower [a-z/]+|token \d+ x*end)$`)
)

func (r *race) fill() {
	r.layer(raceFiles...)
	for _, d := range raceDirs {
		r.layer(d+"/f", d+"/sub/g")
	}
}

func (r *race) run(threads int) {
	var wg sync.WaitGroup
	failed := make(chan error, threads)
	for i := range threads {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), uint64(time.Now().UnixNano())))
			for time.Now().Before(r.end) {
				if err := r.step(rng, i); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(failed)
	for err := range failed {
		r.t.Error(err)
	}
	counts := make([]int64, len(r.done))
	for i := range r.done {
		counts[i] = r.done[i].Load()
	}
	r.t.Logf("steps that had an effect: %d", counts)
}

// content makes a new content, short or of nearly a page.
func (r *race) content(rng *rand.Rand) []byte {
	filling := ""
	if rng.IntN(2) == 0 {
		filling = strings.Repeat("x", 4000)
	}
	return fmt.Appendf(nil, "token %d %send", r.token.Add(1), filling)
}

func (r *race) step(rng *rand.Rand, thread int) error {
	file := raceFiles[rng.IntN(len(raceFiles))]
	name := r.merged(file)
	other := r.merged(raceFiles[rng.IntN(len(raceFiles))])
	own := r.merged(fmt.Sprintf("own-%d", thread))
	dir := raceDirs[rng.IntN(len(raceDirs))]
	what := rng.IntN(16)
	var err error
	allowed := []error{nil, unix.ENOENT, unix.EEXIST}
	switch what {
	case 0:
		err = unix.Unlink(name)
	case 1, 2:
		err = r.tryRestore(file)
	case 3, 4:
		err = r.tryDiscard(file)
		allowed = append(allowed, unix.ESTALE)
	case 5:
		if err = os.WriteFile(own, r.content(rng), 0o644); err == nil {
			err = os.Rename(own, name)
		}
	case 6:
		err = os.Rename(name, other)
		// Copy-up of a name that another thread has just taken.
		allowed = append(allowed, unix.ESTALE)
	case 7:
		if err = os.Link(name, own+".link"); err == nil {
			err = errors.Join(r.check(own+".link"), os.Rename(own+".link", other))
			// A rename to another link of the file does nothing.
			os.Remove(own + ".link")
		}
		allowed = append(allowed, unix.ESTALE)
	case 8, 9:
		err = r.check(name)
		allowed = append(allowed, unix.ESTALE)
	case 10:
		err = r.stale(rng, file)
		allowed = append(allowed, unix.ESTALE)
	case 11:
		_, err = r.mount.UpperState(name)
	case 12:
		err = os.RemoveAll(r.merged(dir))
		allowed = append(allowed, unix.ENOTEMPTY, unix.ESTALE, unix.ENOTDIR)
	case 13:
		err = r.tryRestore(dir)
	case 14:
		err = r.mount.RestoreLower(r.merged(dir+"/sub"), ioctl.RestoreFlags(0))
	case 15:
		if err = os.WriteFile(r.merged(dir+"/sub/own"), nil, 0o644); err == nil {
			err = r.check(r.merged(dir + "/sub/g"))
		}
		allowed = append(allowed, unix.ESTALE)
	}
	if err == nil {
		r.done[what].Add(1)
		return nil
	}
	for _, a := range allowed {
		if errors.Is(err, a) {
			return nil
		}
	}
	return fmt.Errorf("step %d on %s: %w", what, file, err)
}

// check reads a file and asserts that it is whole.
func (r *race) check(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return checkOpen(f)
}

func checkOpen(f *os.File) error {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<20))
	if err != nil {
		return err
	}
	if x := bytes.Count(b, []byte("x")); !whole.Match(b) || x != 0 && x != 4000 {
		return fmt.Errorf("%s holds %d bytes: %.60q", f.Name(), len(b), b)
	}
	return nil
}

// stale opens a file, lets the others go on, and changes it then: it has
// another name by now, or none. Whatever has its name must not notice.
func (r *race) stale(rng *rand.Rand, file string) error {
	f, err := os.Open(r.merged(file))
	if err != nil {
		return err
	}
	defer f.Close()
	before, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<20))
	if err != nil {
		return err
	}
	for range rng.IntN(4) {
		time.Sleep(time.Duration(rng.IntN(300)) * time.Microsecond)
	}
	err = unix.Fchmod(int(f.Fd()), 0o600+uint32(rng.IntN(8)))
	after, readErr := io.ReadAll(io.NewSectionReader(f, 0, 1<<20))
	if readErr != nil {
		return readErr
	}
	if string(before) != string(after) {
		return fmt.Errorf("the open %s held %.60q and now holds %.60q", file, before, after)
	}
	return err
}

// settle checks what is left, and brings everything back to the lower layer.
func (r *race) settle() {
	for _, file := range raceFiles {
		if err := r.check(r.merged(file)); err != nil && !errors.Is(err, os.ErrNotExist) {
			r.t.Errorf("at the end: %v", err)
		}
	}
	// What is written to one name is not seen under another.
	for i, file := range raceFiles {
		os.Remove(r.merged(file))
		err := r.tryRestore(file)
		if err != nil && !errors.Is(err, unix.EEXIST) {
			r.t.Errorf("restore %s at the end: %v", file, err)
		}
		r.wantLower(file)
		r.must(os.WriteFile(r.merged(file), fmt.Appendf(nil, "last %d", i), 0o644))
	}
	for i, file := range raceFiles {
		r.wantContent(file, fmt.Sprintf("last %d", i))
		r.discard(file)
		r.wantLower(file)
		r.wantState(file, ioctl.StateNone, 0)
	}
	for _, dir := range raceDirs {
		if err := r.tryRestore(dir); err != nil && !errors.Is(err, unix.EEXIST) {
			r.t.Errorf("restore %s at the end: %v", dir, err)
		}
		for _, name := range []string{dir + "/f", dir + "/sub", dir + "/sub/g"} {
			if err := r.tryRestore(name); err != nil && !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.ENOENT) {
				r.t.Errorf("restore %s at the end: %v", name, err)
			}
		}
		if _, err := os.ReadDir(r.merged(filepath.Join(dir, "sub"))); err != nil && !errors.Is(err, os.ErrNotExist) {
			r.t.Errorf("list %s at the end: %v", dir, err)
		}
	}
}
