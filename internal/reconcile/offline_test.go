// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/ovl-restore/ovl-restore/internal/overlay"
	"github.com/ovl-restore/ovl-restore/test/namespace"
)

// runOffline reconciles before the overlay is mounted.
func (s *stage) runOffline(change func(*RunOptions)) (*Report, error) {
	s.t.Helper()
	u, err := overlay.OpenUnmounted(
		overlay.Directories{Upper: s.Upper, Lowers: []string{s.Lower}, Work: s.Work},
		overlay.LayerOptions{UserXattr: !namespace.Privileged()})
	must(s.t, err)
	defer func() { must(s.t, u.Close()) }()
	opts := s.runOptions()
	if change != nil {
		change(&opts)
	}
	return Run(context.Background(), &Target{Unmounted: u, Mount: "/"}, opts)
}

// Before the overlay is mounted, the same is done, and undone.
func TestOffline(t *testing.T) {
	s := worked(t)
	before := s.seen()
	var busy *overlay.MountedError
	if _, err := s.runOffline(func(o *RunOptions) { o.Again = true }); !errors.As(err, &busy) {
		t.Errorf("while it is mounted: %v", err)
	}
	for _, step := range []struct {
		version string
		want    tree
		outcome Outcome
	}{{"2", afterV2, Reconciled}, {"1", before, RolledBack}, {"2", afterV2, Reconciled}} {
		s.shutDown()
		moveAll(t, s.images[step.version], s.Lower)
		report, err := s.runOffline(nil)
		must(t, err)
		if report.Outcome != step.outcome {
			t.Errorf("image %s: %+v", step.version, report)
		}
		s.booted = step.version
		s.Mount(t, s.options...)
		s.want("image "+step.version, step.want)
	}
}

// The image that ran before tells all that a record would, and more: what was
// changed after the record, or without one.
func TestBaseImage(t *testing.T) {
	s := newStage(t)
	s.image("1", imageV1)
	s.image("2", imageV2)
	s.boot("1")
	work(s)
	s.update("2")
	report := s.run(func(o *RunOptions) { o.Base = s.images["1"] })
	if report.From != "" {
		t.Errorf("there was no state: %+v", report)
	}
	s.want("with the image before", afterV2)
}

// Without any baseline only what is equal to the image goes.
func TestNoBaseline(t *testing.T) {
	s := newStage(t)
	s.image("1", imageV1)
	s.image("2", imageV2)
	s.boot("1")
	work(s)
	s.update("2")
	seen := s.seen()
	report := s.run(nil)
	s.want("without a baseline", seen)
	for _, r := range report.Results {
		if r.Action == Drop && r.Reason != Redundant && r.Reason != Orphan {
			t.Errorf("%s: %v", r.Rel, r.Decision)
		}
	}
	if _, err := os.Lstat(filepath.Join(s.Upper, "etc/caught-up")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the redundant copy: %v", err)
	}
}

// A baseline that cannot be read counts as none from there on, which is said, and
// the next one is written anew. With digests that this program does not make,
// every copy would look like an edit.
func TestBaselineDamaged(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"other digests": func(b []byte) []byte { return bytes.Replace(b, []byte(digestName), []byte("another"), 1) },
		"empty":         func([]byte) []byte { return nil },
		"cut off":       func(b []byte) []byte { return b[:len(b)/2] },
		"overwritten":   func(b []byte) []byte { return append(b[:len(b)/2:len(b)/2], make([]byte, len(b)/2)...) },
	} {
		t.Run(name, func(t *testing.T) {
			s := worked(t)
			path := filepath.Join(s.Upper+".ovl-restore", BaselineName)
			data, err := os.ReadFile(path)
			must(t, err)
			must(t, os.WriteFile(path, damage(data), 0o600))
			s.record() // as at shutdown: what it knew is read again
			repaired, err := os.ReadFile(path)
			must(t, err)
			if !bytes.Equal(repaired, data) {
				t.Errorf("recorded again:\n%s\nwant:\n%s", repaired, data)
			}
			must(t, os.WriteFile(path, damage(data), 0o600))
			s.update("2")
			seen := s.seen()
			report := s.run(nil)
			if report.Outcome != Reconciled || !errors.Is(report.NoBase, errBaseline) {
				t.Errorf("%s, %v", report.Outcome, report.NoBase)
			}
			unknown := 0
			for _, r := range report.Results {
				if r.Reason == NoBaseline {
					unknown++
				}
			}
			if unknown == 0 {
				t.Error("all of the baseline was believed")
			}
			for rel, got := range s.seen() {
				if got != seen[rel] && got != afterV2[rel] {
					t.Errorf("%s: %q, neither as it was nor as it should become", rel, got)
				}
			}
			if data, err = os.ReadFile(path); err != nil || !bytes.HasPrefix(data, []byte(`{"image":"IMAGE_VERSION=2","digest":"`+digestName+`"`)) {
				t.Errorf("the next baseline: %v, %.80q", err, data)
			}
		})
	}
}

// A base that is the overlay itself, or its upper, would make every edit look
// like a copy.
func TestBaseRefused(t *testing.T) {
	s := newStage(t)
	s.image("1", imageV1)
	s.boot("1")
	work(s)
	seen := s.seen()
	for _, base := range []string{s.Merged, s.Upper, filepath.Join(s.Merged, "none")} {
		target, release := s.target()
		opts := s.runOptions()
		opts.Base = base
		_, err := Run(context.Background(), target, opts)
		release()
		if err == nil {
			t.Errorf("base %s was believed", base)
		}
	}
	s.want("after that", seen)
}

// Six overlays of one device, as Calculinux has them, all at once: through an
// update, back, and to the image after that one.
func TestSixOverlays(t *testing.T) {
	var all []*stage
	for range 6 {
		s := worked(t)
		s.image("3", imageV3())
		all = append(all, s)
	}
	before := all[0].seen()
	afterV3 := maps.Clone(afterV2)
	afterV3["usr/bin/tool"], afterV3["etc/app.conf.ovl-new"] = "tool 3", "app 3"
	for _, step := range []struct {
		version string
		want    tree
	}{{"2", afterV2}, {"1", before}, {"3", afterV3}} {
		var group sync.WaitGroup
		for _, s := range all {
			s.update(step.version)
			group.Go(func() {
				if err := runOn(s.Merged); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		for _, s := range all {
			s.want("of six, image "+step.version, step.want)
		}
	}
}
