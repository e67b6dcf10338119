// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// A user makes files where they were deleted, and deletes them again, while the
// tool restores them over and over. What the user was told is written must never
// vanish by the tool.
func TestRaceWithAUser(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		s.fillLower("d/f", "d/g")
		s.mount()
		s.remove("d/f")
		stop := make(chan struct{})
		var done atomic.Int64
		var user sync.WaitGroup
		user.Go(func() {
			for round := 0; ; round++ {
				select {
				case <-stop:
					return
				default:
				}
				content := fmt.Sprintf("round %d", round)
				f, err := os.OpenFile(s.merged("d/f"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
				if err != nil {
					// The lower's file is back, or the name is between two states.
					_ = os.Remove(s.merged("d/f"))
					continue
				}
				_, err = f.WriteString(content)
				if err := errors.Join(err, f.Close()); err != nil {
					t.Errorf("round %d: write: %v", round, err)
					return
				}
				if !stillThere(s, content) {
					t.Errorf("round %d: what the user wrote is gone: the upper has %v, the merged view %v", round, tree(t, s.Upper), tree(t, s.Merged))
					return
				}
				_ = os.Remove(s.merged("d/f"))
				// Now and then the tool has its way.
				for before := done.Load(); round%8 == 0 && done.Load() == before; {
					select {
					case <-stop:
						return
					default:
						runtime.Gosched()
					}
				}
			}
		})
		// Through one open overlay, whose caches of ours are used too.
		o := s.open()
		// Where there is one processor, it may take long until the tool runs while the
		// user waits for it.
		rounds := scaled(2000)
		for n := 0; n < rounds || done.Load() == 0 && n < 100*rounds; n++ {
			for _, r := range s.restoreWith(o, opts, "d/f") {
				if r.Status == StatusDone {
					done.Add(1)
				}
			}
		}
		close(stop)
		user.Wait()
		if done.Load() == 0 {
			t.Error("nothing was ever restored: this tests nothing")
		}
	})
}

// stillThere looks for content under its name, and for the moment in which the
// tool looks at it, under the temporary one.
func stillThere(s *stage, content string) bool {
	for range 1000 {
		names, _ := filepath.Glob(filepath.Dir(s.Upper) + "/" + tempPrefix + "*")
		for _, name := range append(names, s.merged("d/f"), s.inUpper("d/f")) {
			if data, err := os.ReadFile(name); err == nil && string(data) == content {
				return true
			}
		}
	}
	return false
}

// Somebody puts a real file in the whiteout's place between the look and the
// act: it stays, and the tool says that things changed.
func TestWhiteoutReplacedBeforeTheAct(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		opts.Method = MethodRemount // the ioctl leaves no moment in between
		s.fillLower("f", "shadow", "g")
		s.mount()
		s.remove("f", "g")
		s.write("shadow", "edited")
		opts.Discard = true
		k := s.keep()
		opts.Keeper = func(upper *Layer) (Keeper, error) {
			// All is planned by now, and nothing done.
			s.write("f", "precious")
			return k.open(upper)
		}

		results := s.restore(opts, "f", "g", "shadow")

		wantFailed(t, results[:1], unix.ESTALE)
		wantAll(t, results[1:], StatusDone)
		s.wantContent("f", "precious")
		s.wantLower("g", "shadow")
	})
}

// A backup that fails drops nothing.
func TestNothingDroppedWithoutBackup(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		s.fillLower("shadow", "opaque/f", "file-to-dir", "white")
		s.mount()
		s.write("shadow", "edited")
		s.write("own", "own")
		s.remove("opaque", "file-to-dir", "white")
		s.must(os.Mkdir(s.merged("opaque"), 0o755))
		s.must(os.Mkdir(s.merged("file-to-dir"), 0o755))
		before, merged := tree(t, s.Upper), tree(t, s.Merged)
		opts.Discard, opts.Recursive = true, true

		for name, keeper := range map[string]func(*Layer) (Keeper, error){
			"no keeper": func(*Layer) (Keeper, error) { return nil, unix.ENOSPC },
			"no link or move": func(upper *Layer) (Keeper, error) {
				k := s.keep()
				k.before = func(string, string) error { return unix.ENOSPC }
				return k.open(upper)
			},
		} {
			opts.Keeper = keeper
			results := s.restore(opts, "shadow", "opaque", "file-to-dir")
			wantAll(t, results, StatusFailed)
			for _, r := range results {
				if !errors.Is(r.Err, unix.ENOSPC) {
					t.Errorf("%s: %s: %v, want ENOSPC", name, r.Path, r.Err)
				}
			}
			wantTree(t, s.Upper, before)
			wantTree(t, s.Merged, merged)
		}
		o := s.open()
		wantAll(t, o.Restore(t.Context(), []string{s.merged("shadow")}, RestoreOptions{Method: opts.Method, Discard: true}), StatusFailed)
		wantTree(t, s.Upper, before)
	})
}

// Two runs restore the same names at once: both end well.
func TestTwoAtOnce(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		var rels []string
		for i := range 300 {
			rels = append(rels, fmt.Sprintf("d%d/f%d", i%7, i))
		}
		s.fillLower(rels...)
		s.mount()
		s.remove(rels...)
		var both sync.WaitGroup
		all := make([][]Result, 2)
		for i := range all {
			o := s.open()
			both.Go(func() { all[i] = s.restoreWith(o, opts, rels...) })
		}
		both.Wait()
		for i := range rels {
			a, b := all[0][i], all[1][i]
			// Who comes second may be told that there is nothing left to do.
			if a.Status != StatusDone && b.Status != StatusDone {
				t.Errorf("%s: %s %v, and %s %v", rels[i], a.Status, a.Err, b.Status, b.Err)
			}
			for _, r := range []Result{a, b} {
				if r.Status != StatusDone && !errors.Is(r.Err, unix.EEXIST) {
					t.Errorf("%s: %s %v", rels[i], r.Status, r.Err)
				}
			}
		}
		s.wantLower(rels...)
		wantNoTemporaryNames(t, s.Upper)
	})
}

// Ctrl-C in a large batch: what was begun is finished and verified, the rest is
// untouched, and no path is in between.
func TestInterruptedBatch(t *testing.T) {
	for _, cut := range []string{"planning", "acting"} {
		t.Run(cut, func(t *testing.T) {
			onEach(t, func(t *testing.T, s *stage, opts RestoreOptions) {
				rels := manyNames(scaled(5_000), 10)
				s.fillLower(rels...)
				s.mount()
				s.whiteOut(rels...)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				o := s.open()
				at := len(rels) / 3
				if cut == "acting" {
					at += len(rels)
				}
				opts.Progress = func(done, _ int) {
					if done == at {
						cancel()
					}
				}
				flushes := 0
				o.opts.Trace = func(e Event) {
					if strings.HasPrefix(e.Op, "flush") {
						flushes++
					}
				}
				paths := make([]string, len(rels))
				for i, rel := range rels {
					paths[i] = s.merged(rel)
				}

				results := o.Restore(ctx, paths, opts)

				done := 0
				for i, r := range results {
					_, err := os.Lstat(s.merged(rels[i]))
					switch {
					case r.Status == StatusDone && err == nil:
						done++
					case r.Status == StatusFailed && errors.Is(r.Err, unix.EINTR) && errors.Is(err, unix.ENOENT):
					default:
						t.Fatalf("%s: %s, %v; it is there: %v", rels[i], r.Status, r.Err, err)
					}
				}
				if flushes > 1 {
					t.Errorf("%d flushes", flushes)
				}
				if ctx.Err() != nil && done == len(rels) {
					t.Error("the interruption changed nothing")
				}
				if cut == "acting" && opts.Method == MethodRemount && done == 0 {
					t.Error("what was begun was not finished")
				}
			})
		})
	}
}

// manyNames spreads names over directories.
func manyNames(count, dirs int) []string {
	names := make([]string, count)
	for i := range names {
		names[i] = fmt.Sprintf("d%d/f%d", i%dirs, i)
	}
	return names
}

// whiteOut deletes single files of the merged view, faster than remove.
func (s *stage) whiteOut(rels ...string) {
	s.t.Helper()
	for _, rel := range rels {
		s.must(unix.Unlink(s.merged(rel)))
	}
}
