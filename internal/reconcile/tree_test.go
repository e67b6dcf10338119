// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"os"
	"strings"
	"testing"
)

// A directory that the user only worked in takes the new image's attributes, and
// has the old ones after a rollback; one whose mode the user changed does not.
func TestDirectoryAttributes(t *testing.T) { variants(t, testDirectoryAttributes) }

func testDirectoryAttributes(t *testing.T, s *stage) {
	t.Helper()
	s.image("1", tree{"etc/d/": " x=one", "etc/d/f": "f", "etc/e/": "", "usr/g/": " mode=0711", "usr/h/": " x=h"})
	s.image("2", tree{"etc/d/": " mode=0750 x=two", "etc/d/f": "f", "etc/e/": " mode=0700", "usr/g/": " mode=0700", "usr/h/": ""})
	s.boot("1")
	s.run(nil)
	tree{"etc/d/mine": "mine", "usr/h/mine": "mine"}.write(t, s.Merged)
	must(t, os.Chmod(s.in("etc/e"), 0o711))
	must(t, os.Chmod(s.in("usr/g"), 0o777))
	s.record()
	before := s.seen()
	s.update("2")
	s.run(nil)
	s.want("on the second image", tree{
		"etc/": "", "etc/d/": " mode=0750 x=two", "etc/d/f": "f", "etc/d/mine": "mine", "etc/e/": " mode=0711",
		"usr/": "", "usr/g/": " mode=0700", "usr/h/": "", "usr/h/mine": "mine", "usr/lib/": "",
	})
	s.update("1")
	s.run(nil)
	s.want("on the first image again", before)
}

// What is strange about names and depths is no trouble.
func TestStrangeNames(t *testing.T) {
	s := newStage(t)
	deep := strings.Repeat("d/", 40) + "f"
	long := strings.Repeat("n", 250) // no room for .ovl-new
	v1 := tree{"etc/new\nline": "1", "etc/bad\xff": "1", "etc/" + deep: "1", "etc/" + long: "1", "etc/-": "1"}
	v2 := tree{}
	for name := range v1 {
		v2[name] = "2"
	}
	s.image("1", v1)
	s.image("2", v2)
	s.boot("1")
	s.run(nil)
	mine := tree{"etc/new\nline": "mine", "etc/" + long: "mine"}
	mine.write(t, s.Merged)
	for _, name := range []string{"etc/bad\xff", "etc/" + deep, "etc/-"} {
		must(t, os.Chmod(s.in(name), 0o644)) // a copy, and no change
	}
	s.record()
	s.update("2")
	s.run(nil)
	want := tree{
		"etc/": "", "etc/new\nline": "mine", "etc/new\nline.ovl-new": "2", "etc/bad\xff": "2", "etc/" + long: "mine", "etc/-": "2",
		"etc/" + deep: "2", "usr/": "", "usr/lib/": "",
	}
	for at := "etc/" + strings.TrimSuffix(deep, "f"); at != "etc/"; at = strings.TrimSuffix(at, "d/") {
		want[at] = ""
	}
	s.want("strange names", want)
}

// What the user renamed is the user's, and follows the image in what is below.
func TestRenamedDirectory(t *testing.T) {
	variants(t, func(t *testing.T, s *stage) {
		t.Helper()
		if !s.redirects() {
			return // no variant without redirects renames directories
		}
		s.image("1", tree{"usr/d/a": "a 1", "usr/d/b": "b 1", "usr/d/c": "c 1"})
		s.image("2", tree{"usr/d/a": "a 2", "usr/d/b": "b 2", "usr/d/c": "c 2"})
		s.boot("1")
		s.run(nil)
		must(t, os.Rename(s.in("usr/d"), s.in("usr/r")))
		must(t, os.Chmod(s.in("usr/r/a"), 0o644))
		must(t, os.Remove(s.in("usr/r/c")))
		s.record()
		s.update("2")
		s.run(nil)
		s.want("renamed", tree{"usr/": "", "usr/lib/": "", "usr/r/": "", "usr/r/a": "a 2", "usr/r/b": "b 2"})
	})
}

func (s *stage) redirects() bool {
	return strings.Contains(strings.Join(s.options, ","), "redirect_dir=on")
}
