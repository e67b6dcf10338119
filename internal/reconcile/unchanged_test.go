// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// readFiles watches trees, and returns what says which of their files were opened or
// read, and which directories read, since.
func readFiles(t *testing.T, roots ...string) func() []string {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	must(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	dirs := map[int32]string{}
	for _, root := range roots {
		must(t, filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.IsDir() {
				return err
			}
			wd, err := unix.InotifyAddWatch(fd, path, unix.IN_OPEN|unix.IN_ACCESS|unix.IN_ONLYDIR)
			dirs[int32(wd)] = path
			return err
		}))
	}
	read := func() []string {
		seen := map[string]bool{}
		buf := make([]byte, 1<<16)
		for {
			n, err := unix.Read(fd, buf)
			if err != nil {
				break
			}
			for at := 0; at < n; {
				e := (*unix.InotifyEvent)(unsafe.Pointer(&buf[at]))
				name := buf[at+unix.SizeofInotifyEvent : at+unix.SizeofInotifyEvent+int(e.Len)]
				at += unix.SizeofInotifyEvent + int(e.Len)
				if e.Mask&unix.IN_ISDIR != 0 && e.Mask&unix.IN_ACCESS == 0 {
					continue // opened on the way to another, and not read
				}
				seen[filepath.Join(dirs[e.Wd], strings.TrimRight(string(name), "\x00"))] = true
			}
		}
		return slices.Sorted(maps.Keys(seen))
	}
	read() // what was to be watched, was read for that
	return read
}

// Where the image is that of the last time, the state is read, what names the image,
// and whether anything is queued: nothing else of the upper, the store, or the image.
func TestUnchangedReadsState(t *testing.T) {
	s := newStage(t)
	s.image("1", imageV1)
	s.manifest("1")
	s.boot("1")
	s.run(nil)
	work(s)
	s.record()
	s.enqueue("etc/app.conf")
	s.run(nil)
	store := s.Upper + ".ovl-restore"
	read := readFiles(t, s.Upper, s.Lower, s.Work, store)
	if got := s.run(nil); got.Outcome != Unchanged {
		t.Fatalf("%+v", got)
	}
	// The list of the lower's root is how the layer is known again.
	want := []string{s.Lower, filepath.Join(s.Lower, "usr/lib/os-release"), filepath.Join(store, "queue"), filepath.Join(store, "state.json")}
	for _, file := range read() {
		if !slices.Contains(want, file) {
			t.Errorf("it has read %s", file)
		}
	}
	// It would have been seen.
	_, err := os.ReadFile(filepath.Join(store, "baseline.jsonl"))
	must(t, err)
	if got := read(); len(got) != 1 {
		t.Errorf("reading one file was seen as %q", got)
	}
}

// A state that cannot be read stops a run, before it does anything, and says which
// file it is. Without that, the next run does what is safe without a baseline.
func TestStateDamaged(t *testing.T) {
	s := worked(t)
	s.update("2")
	seen, path := s.seen(), filepath.Join(s.Upper+".ovl-restore", StateName)
	must(t, os.WriteFile(path, []byte(`{"image":"IMAGE_VER`), 0o600))
	target, release := s.target()
	_, err := Run(context.Background(), target, s.runOptions())
	release()
	if err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want an error that names %s", err, path)
	}
	s.want("after the run that failed", seen)
	must(t, os.Rename(path, path+".damaged"))
	if got := s.run(nil); got.Outcome != Reconciled || got.From != "" {
		t.Errorf("%+v", got)
	}
	s.want("begun anew", seen)
}
