// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ovl-restore/ovl-restore/test/namespace"
)

// The images of a device, and what its user does: one file for each row of the
// design's table, in /etc, /usr and /var.
var (
	imageV1 = tree{
		"etc/app.conf":        "app 1",
		"etc/quiet.conf":      "quiet", // the image never changes it
		"etc/touched":         "touched 1",
		"etc/chmod":           "chmod 1",
		"etc/deleted":         "deleted 1",
		"etc/deleted-same":    "same",
		"etc/dropped":         "dropped 1", // the image drops it
		"etc/dropped-copy":    "dropped 1",
		"etc/machine-id":      "uninitialized",
		"etc/rc.d/start":      "start 1",
		"etc/rc.d/stop":       "stop 1",
		"etc/old.d/a":         "a", // the image drops the directory
		"etc/old.d/b":         "b",
		"etc/gone.d/a":        "a",
		"etc/gone.d/b":        "b",
		"usr/bin/tool":        "tool 1",
		"usr/bin/same":        "same",
		"usr/bin/patched":     "patched 1",
		"usr/bin/link":        "-> tool",
		"usr/lib/mod":         "file 1", // becomes a directory
		"usr/lib/stale":       "file 1", // becomes a directory, and the user touched it
		"usr/share/doc/a":     "doc a 1",
		"usr/share/doc/b":     "doc b 1",
		"usr/share/fresh/one": "1",
		"var/lib/db":          "db 1",
		"var/lib/seen":        "seen 1",
	}
	imageV2 = tree{
		"etc/app.conf":        "app 2",
		"etc/quiet.conf":      "quiet",
		"etc/touched":         "touched 2",
		"etc/chmod":           "chmod 2",
		"etc/deleted":         "deleted 2",
		"etc/deleted-same":    "same",
		"etc/machine-id":      "uninitialized still",
		"etc/rc.d/start":      "start 2",
		"etc/rc.d/stop":       "stop 2",
		"etc/rc.d/reload":     "reload 2",
		"etc/caught-up":       "the same",
		"etc/user.conf":       "the image's",
		"usr/bin/tool":        "tool 2 mode=0755",
		"usr/bin/same":        "same",
		"usr/bin/patched":     "patched 2",
		"usr/bin/link":        "-> same",
		"usr/lib/mod/m":       "m 2",
		"usr/lib/stale/s":     "s 2",
		"usr/share/doc/a":     "doc a 2",
		"usr/share/doc/b":     "doc b 2",
		"usr/share/fresh/one": "2",
		"usr/share/fresh/two": "2",
		"var/lib/db":          "db 2",
		"var/lib/seen":        "seen 2",
		"var/lib/new":         "new 2 x=attribute",
	}
)

// imageV3 has what the second image has, but for two files.
func imageV3() tree {
	tr := maps.Clone(imageV2)
	tr["etc/app.conf"], tr["usr/bin/tool"] = "app 3", "tool 3"
	return tr
}

// work is what the user does on the first image.
func work(s *stage) {
	t := s.t
	t.Helper()
	write := func(rel, data string) { t.Helper(); must(t, os.WriteFile(s.in(rel), []byte(data), 0o644)) }
	remove := func(rel string) { t.Helper(); must(t, os.RemoveAll(s.in(rel))) }
	touch := func(rel string) {
		t.Helper()
		must(t, os.Chtimes(s.in(rel), time.Time{}, time.Unix(1e9, 0)))
	}
	write("etc/app.conf", "mine")
	write("etc/quiet.conf", "mine")
	touch("etc/touched")
	must(t, os.Chmod(s.in("etc/chmod"), 0o600))
	remove("etc/deleted")
	remove("etc/deleted-same")
	write("etc/dropped", "mine")
	touch("etc/dropped-copy")
	write("etc/machine-id", "0123")
	remove("etc/rc.d")
	must(t, os.Mkdir(s.in("etc/rc.d"), 0o755))
	write("etc/rc.d/mine", "mine")
	remove("etc/old.d/a")
	write("etc/old.d/mine", "mine")
	touch("etc/gone.d/a")
	remove("etc/gone.d/b")
	write("etc/caught-up", "the same")
	write("etc/user.conf", "mine")
	touch("usr/bin/tool")
	write("usr/bin/patched", "mine")
	write("usr/bin/own", "own")
	remove("usr/bin/link")
	must(t, os.Symlink("own", s.in("usr/bin/link")))
	write("usr/lib/mod", "mine")
	touch("usr/lib/stale")
	remove("usr/share/doc")
	must(t, os.Mkdir(s.in("usr/share/fresh.d"), 0o755))
	write("usr/share/fresh/two", "mine")
	remove("usr/share/fresh/two") // over nothing: leaves nothing
	write("var/lib/db", "mine")
	touch("var/lib/seen")
	must(t, os.Rename(s.in("etc/quiet.conf"), s.in("etc/renamed.conf")))
}

// worked is a device on its first image, on which all that is done and recorded;
// the second is there.
func worked(t *testing.T) *stage {
	t.Helper()
	s := newStage(t)
	s.image("1", imageV1)
	s.image("2", imageV2)
	s.boot("1")
	s.run(nil)
	work(s)
	s.record()
	return s
}

// What a user sees on the second image, written by hand.
var afterV2 = tree{
	"etc/":                  "",
	"etc/app.conf":          "mine",
	"etc/app.conf.ovl-new":  "app 2",
	"etc/renamed.conf":      "mine",
	"etc/touched":           "touched 2",
	"etc/chmod":             "chmod 1 mode=0600",
	"etc/chmod.ovl-new":     "chmod 2",
	"etc/dropped":           "mine",
	"etc/machine-id":        "0123",
	"etc/rc.d/":             "",
	"etc/rc.d/mine":         "mine",
	"etc/old.d/":            "",
	"etc/old.d/mine":        "mine",
	"etc/caught-up":         "the same",
	"etc/user.conf":         "mine",
	"etc/user.conf.ovl-new": "the image's",
	"usr/":                  "",
	"usr/bin/":              "",
	"usr/bin/tool":          "tool 2 mode=0755",
	"usr/bin/same":          "same",
	"usr/bin/patched":       "patched 2",
	"usr/bin/own":           "own",
	"usr/bin/link":          "-> same",
	"usr/lib/":              "",
	"usr/lib/mod/":          "",
	"usr/lib/mod/m":         "m 2",
	"usr/lib/stale/":        "",
	"usr/lib/stale/s":       "s 2",
	"usr/share/":            "",
	"usr/share/fresh/":      "",
	"usr/share/fresh/one":   "2",
	"usr/share/fresh/two":   "2",
	"usr/share/fresh.d/":    "",
	"var/":                  "",
	"var/lib/":              "",
	"var/lib/db":            "mine",
	"var/lib/seen":          "seen 2",
	"var/lib/new":           "new 2 x=attribute",
}

// afterV2 is what it is on this mount.
func (s *stage) afterV2() tree {
	want := maps.Clone(afterV2)
	if slices.Contains(s.options, "metacopy=on") { // the user's mode on the image's content
		want["etc/chmod"] = "chmod 2 mode=0600"
		delete(want, "etc/chmod.ovl-new")
	}
	return want
}

// variants are the mounts that a scenario runs on.
func variants(t *testing.T, run func(t *testing.T, s *stage)) {
	t.Helper()
	all := map[string][]string{"default": nil}
	if namespace.Privileged() {
		all["index"] = []string{"index=on"}
		all["redirect"] = []string{"index=on", "redirect_dir=on"}
		all["metacopy"] = []string{"redirect_dir=on", "metacopy=on"}
		all["all"] = []string{"index=on", "redirect_dir=on", "metacopy=on"}
		all["userxattr"] = []string{"userxattr"}
	}
	if testing.Short() { // the two that differ most
		delete(all, "index")
		delete(all, "userxattr")
	}
	for name, options := range all {
		t.Run(name, func(t *testing.T) { run(t, newStage(t, options...)) })
	}
}

func TestUpdate(t *testing.T) { variants(t, testUpdate) }

func testUpdate(t *testing.T, s *stage) {
	t.Helper()
	if !s.mounted {
		s.image("1", imageV1)
		s.image("2", imageV2)
		s.image("3", imageV3())
	}
	s.boot("1")
	if got := s.run(nil); got.Outcome != Reconciled || got.From != "" || len(got.Results) != 0 {
		t.Errorf("the first run: %+v", got)
	}
	work(s)
	s.record()
	before := s.seen()
	s.update("2")
	// Not the merged view: the kernel cannot read a metacopy whose data the image
	// took away.
	seen := readTree(t, s.Upper)
	dry := s.run(func(o *RunOptions) { o.DryRun = true })
	if dry.Outcome != Planned {
		t.Errorf("dry run: %s", dry.Outcome)
	}
	if diff := cmp.Diff(seen, readTree(t, s.Upper)); diff != "" {
		t.Errorf("a dry run changed something:\n%s", diff)
	}
	report := s.run(nil)
	want := s.afterV2()
	s.want("after the update", want)
	if len(dry.Results) != len(report.Results) {
		t.Errorf("planned %d, done %d", len(dry.Results), len(report.Results))
	}
	for i, r := range report.Results {
		if i < len(dry.Results) && (dry.Results[i].Rel != r.Rel || dry.Results[i].Decision != r.Decision) {
			t.Errorf("planned %s %v, done %s %v", dry.Results[i].Rel, dry.Results[i].Decision, r.Rel, r.Decision)
		}
	}
	again := s.run(nil)
	if again.Outcome != Unchanged || len(again.Results) != 0 {
		t.Errorf("the second run: %+v", again)
	}
	s.want("after the second run", want)

	// Back to the first image: all is as it was, but for what the user did since.
	s.record()
	must(t, os.WriteFile(s.in("etc/since"), []byte("since"), 0o644))
	must(t, os.WriteFile(s.in("usr/bin/tool"), []byte("mine"), 0o755))
	s.update("1")
	dry = s.run(func(o *RunOptions) { o.DryRun = true })
	back := s.run(nil)
	if back.Outcome != RolledBack || len(dry.Results) != len(back.Results) {
		t.Errorf("back to the first image: %s, planned %d, done %d", back.Outcome, len(dry.Results), len(back.Results))
	}
	before["etc/since"], before["usr/bin/tool"] = "since", "mine mode=0755"
	s.want("back on the first image", before)
	if got := s.run(nil); got.Outcome != Unchanged {
		t.Errorf("after the rollback: %s", got.Outcome)
	}

	// Forward again, and further.
	s.update("2")
	if got := s.run(nil); got.Outcome != Reconciled {
		t.Errorf("the second image again: %s", got.Outcome)
	}
	want["etc/since"] = "since"
	s.want("on the second image again", want)
	s.update("3")
	s.run(nil)
	want["usr/bin/tool"] = "tool 3"
	want["etc/app.conf.ovl-new"] = "app 3"
	want["etc/user.conf"] = "mine"
	s.want("on the third image", want)
}
