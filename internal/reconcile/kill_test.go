// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/ovl-restore/ovl-restore/internal/config"
	"github.com/ovl-restore/ovl-restore/internal/overlay"
	"github.com/ovl-restore/ovl-restore/test/faultpoint"
	"github.com/ovl-restore/ovl-restore/test/namespace"
)

// scenarios are what is killed, in a process of its own.
var scenarios = map[string]func([]string) error{
	"reconcile": func(args []string) error { return runOn(args[0]) },
}

func runOn(merged string) error {
	policy, err := LoadPolicy(config.Dirs{})
	if err != nil {
		return err
	}
	o, err := overlay.Open(merged, overlay.Options{})
	if err != nil {
		return err
	}
	report, err := Run(context.Background(), &Target{Overlay: o, Mount: "/"}, RunOptions{Policy: policy, Open: openStore})
	if err == nil && report.Failed() {
		err = errors.New("incomplete")
	}
	return errors.Join(err, o.Close())
}

// small images, with one of each kind of decision: a sweep runs them hundreds of
// times.
var (
	smallV1 = tree{
		"etc/app.conf": "app 1", "etc/copy": "copy 1", "etc/gone.d/a": "a", "etc/gone.d/b": "b",
		"usr/bin/tool": "tool 1", "usr/link": "-> one", "usr/same": "same 1", "usr/d/": " mode=0711", "usr/d/f": "f",
	}
	smallV2 = tree{
		"etc/app.conf": "app 2", "etc/copy": "copy 2", "usr/bin/tool": "tool 2", "usr/link": "-> two", "usr/same": "same 2",
		"usr/d/": "", "usr/d/f": "f",
	}
	smallWork   = tree{"etc/app.conf": "mine", "usr/bin/tool": "mine", "usr/same": "same 2", "usr/d/mine": "mine"}
	smallV2Seen = tree{
		"etc/": "", "etc/app.conf": "mine", "etc/app.conf.ovl-new": "app 2", "etc/copy": "copy 2",
		"usr/": "", "usr/bin/": "", "usr/bin/tool": "tool 2", "usr/link": "-> two", "usr/same": "same 2", "usr/lib/": "",
		"usr/d/": "", "usr/d/f": "f", "usr/d/mine": "mine",
	}
)

// updated is a device that has the second image and was not reconciled; before is
// what the user saw on the first.
func updated(t *testing.T) (s *stage, before tree) {
	t.Helper()
	s = newStage(t)
	s.image("1", smallV1)
	s.image("2", smallV2)
	s.boot("1")
	s.run(nil)
	smallWork.write(t, s.Merged)
	must(t, os.Chmod(s.in("etc/copy"), 0o644))
	must(t, os.Remove(s.in("etc/gone.d/a")))
	must(t, os.Remove(s.in("usr/link")))
	s.record()
	before = s.seen()
	s.update("2")
	return s, before
}

// smallSeen is what is seen on the second image.
func smallSeen() tree {
	want := maps.Clone(smallV2Seen)
	delete(want, "usr/link") // deleted by the user, and updated: it stays deleted
	return want
}

// After a run that was killed, the next one ends where it would have ended; and
// where the device falls back to the first image, it is as it was before.
func afterKill(t *testing.T, s *stage, before tree, fallBack bool) {
	t.Helper()
	if fallBack {
		s.update("1")
		s.run(nil)
		s.want("back on the first image", before)
		s.update("2")
	}
	s.run(nil)
	s.want("on the second image", smallSeen())
	if got := s.run(nil); got.Outcome != Unchanged {
		t.Errorf("one more run: %s", got.Outcome)
	}
	s.update("1")
	s.run(nil)
	s.want("rolled back", before)
}

// everyNth is how much of a sweep there is time for.
func everyNth(n int) int {
	switch {
	case os.Getenv("OVL_LONG") != "":
		return 1
	case testing.Short() && namespace.InGuest():
		return 9 * n
	case testing.Short():
		return 4 * n
	}
	return n
}

// Wherever the update is killed.
func TestKillUpdate(t *testing.T) {
	for name, fallBack := range map[string]bool{"again": false, "fall back": true} {
		t.Run(name, func(t *testing.T) {
			n := faultpoint.Sweep(t, faultpoint.Kill.Every(everyNth(6)), func(t *testing.T) faultpoint.Scenario {
				s, before := updated(t)
				return faultpoint.Scenario{
					Program: faultpoint.Self("reconcile", s.Merged),
					Check:   func(t *testing.T, _ faultpoint.Stop) { afterKill(t, s, before, fallBack) },
				}
			})
			if n < 50 {
				t.Errorf("only %d calls", n)
			}
		})
	}
}

// Wherever the rollback is killed, the next run finishes it, or the device goes on
// with the second image after all.
func TestKillRollback(t *testing.T) {
	for name, forward := range map[string]bool{"again": false, "forward": true} {
		t.Run(name, func(t *testing.T) {
			faultpoint.Sweep(t, faultpoint.Kill.Every(everyNth(6)), func(t *testing.T) faultpoint.Scenario {
				s, before := updated(t)
				s.run(nil)
				s.update("1")
				return faultpoint.Scenario{
					Program: faultpoint.Self("reconcile", s.Merged),
					Check: func(t *testing.T, _ faultpoint.Stop) {
						if forward {
							s.update("2")
							s.run(nil)
							s.want("on the second image", smallSeen())
							s.update("1")
						}
						s.run(nil)
						s.want("on the first image", before)
					},
				}
			})
		})
	}
}

// Whatever fails with EIO, nothing is lost: the next run ends where it should.
func TestFailUpdate(t *testing.T) {
	faultpoint.Sweep(t, faultpoint.Fail(5).Every(everyNth(8)), func(t *testing.T) faultpoint.Scenario {
		s, before := updated(t)
		return faultpoint.Scenario{
			Program: faultpoint.Self("reconcile", s.Merged),
			Check:   func(t *testing.T, _ faultpoint.Stop) { afterKill(t, s, before, false) },
		}
	})
}

// Killed at moments that nobody has chosen.
func TestKillAtRandom(t *testing.T) {
	rounds := 200 / everyNth(20)
	for range rounds {
		s, before := updated(t)
		p := faultpoint.Self("reconcile", s.Merged)
		cmd := exec.Command(p.Args[0], p.Args[1:]...)
		cmd.Env = p.Env
		must(t, cmd.Start())
		time.Sleep(time.Duration(rand.Int64N(int64(30 * time.Millisecond))))
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		afterKill(t, s, before, rand.IntN(2) == 0)
		if t.Failed() {
			return
		}
		s.shutDown()
	}
}
