// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func (s *stage) enqueue(rels ...string) {
	s.t.Helper()
	t, release := s.target()
	defer release()
	must(s.t, Enqueue(t, rels, nil, openStore))
}

// What is queued comes back with the next run, on the same image too, and is not
// asked for again.
func TestQueue(t *testing.T) {
	s := newStage(t)
	s.image("1", tree{"etc/a": "a", "etc/b": "b", "etc/d/e": "e", "etc/gone": "g"})
	s.image("2", tree{"etc/a": "a", "etc/b": "b", "etc/d/e": "e"})
	s.boot("1")
	s.run(nil)
	for _, rel := range []string{"etc/a", "etc/b", "etc/d", "etc/gone"} {
		must(t, os.RemoveAll(s.in(rel)))
	}
	s.enqueue("etc/a")
	if got := s.run(nil); got.Outcome != Reconciled {
		t.Errorf("the same image with a queue: %s", got.Outcome)
	}
	s.want("queued", tree{"etc/": "", "etc/a": "a", "usr/": "", "usr/lib/": ""})
	if got := s.run(nil); got.Outcome != Unchanged {
		t.Errorf("after that: %s", got.Outcome)
	}
	must(t, os.Remove(s.in("etc/a")))
	s.run(func(o *RunOptions) { o.Again = true })
	s.want("deleted again", tree{"etc/": "", "usr/": "", "usr/lib/": ""})

	// Twice, below a deleted directory, and gone from the image.
	s.record()
	s.enqueue("etc/d/e", "etc/gone")
	s.enqueue("etc/b", "etc/d/e", "etc/never")
	s.update("2")
	s.run(nil)
	s.want("on the next image", tree{"etc/": "", "etc/b": "b", "etc/d/": "", "etc/d/e": "e", "usr/": "", "usr/lib/": ""})
}

// A request survives a run that fails.
func TestQueueStays(t *testing.T) {
	s := newStage(t)
	s.image("1", tree{"etc/a": "a"})
	s.boot("1")
	s.run(nil)
	must(t, os.Remove(s.in("etc/a")))
	s.enqueue("etc/a")
	s.run(func(o *RunOptions) { o.DryRun = true })
	must(t, unix.Mount("", s.Merged, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
	target, release := s.target()
	report, err := Run(t.Context(), target, s.runOptions())
	release()
	must(t, err)
	if report.Outcome != Incomplete || len(report.Results) != 1 || !errors.Is(report.Results[0].Err, unix.EROFS) {
		t.Errorf("on a read-only mount: %+v", report)
	}
	must(t, unix.Mount("", s.Merged, "", unix.MS_REMOUNT|unix.MS_BIND, ""))
	s.run(nil)
	s.want("at last", tree{"etc/": "", "etc/a": "a", "usr/": "", "usr/lib/": ""})
}
