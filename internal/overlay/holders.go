// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Holder is a process that keeps an entry in use.
type Holder struct {
	PID  int    `json:"pid"`
	Comm string `json:"comm"` // the kernel's name for it, up to 15 bytes
}

func (h Holder) String() string { return fmt.Sprintf("%s (pid %d)", h.Comm, h.PID) }

// fileID is what an open file and a name have in common.
type fileID struct{ dev, ino uint64 }

// held is what processes are asked for.
type held struct {
	byInode map[fileID][]*job
	// byLink is for names that cannot be looked up: what /proc shows as the path
	// of a removed file.
	byLink map[string][]*job
}

// findHolders finds the processes that have the old entries of these jobs open,
// mapped, or as working or root directory, in one look at /proc. It sees what
// /proc shows to this user.
func findHolders(failed []mismatch) map[*job][]Holder {
	found := map[*job][]Holder{}
	want := held{byInode: map[fileID][]*job{}, byLink: map[string][]*job{}}
	for _, m := range failed {
		want.add(m.job)
	}
	if len(want.byInode) == 0 && len(want.byLink) == 0 {
		return found
	}
	procs, err := DirNames("/proc")
	if err != nil {
		return found
	}
	for _, p := range procs {
		pid, err := strconv.Atoi(p)
		if err != nil || pid == os.Getpid() {
			continue
		}
		dir := filepath.Join("/proc", p)
		jobs := want.by(dir)
		if len(jobs) == 0 {
			continue
		}
		comm, _ := os.ReadFile(filepath.Join(dir, "comm")) // gone since: nameless
		for j := range jobs {
			found[j] = append(found[j], Holder{PID: pid, Comm: strings.TrimSpace(string(comm))})
		}
	}
	return found
}

func (h held) add(j *job) {
	fd, err := openPath(unix.AT_FDCWD, j.parent, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return
	}
	defer closeFD(fd)
	if st, err := lstatAt(fd, j.name); err == nil {
		key := fileID{st.Dev, st.Ino}
		h.byInode[key] = append(h.byInode[key], j)
		return
	}
	if parent, err := os.Readlink(procPath(fd)); err == nil {
		link := filepath.Join(parent, j.name) + " (deleted)"
		h.byLink[link] = append(h.byLink[link], j)
	}
}

// by says which of them a process holds.
func (h held) by(proc string) map[*job]bool {
	jobs := map[*job]bool{}
	for _, link := range linksOf(proc) {
		path := filepath.Join(proc, link)
		var st unix.Stat_t
		if unix.Stat(path, &st) == nil {
			for _, j := range h.byInode[fileID{st.Dev, st.Ino}] {
				jobs[j] = true
			}
		}
		if len(h.byLink) == 0 {
			continue
		}
		if target, err := os.Readlink(path); err == nil {
			for _, j := range h.byLink[target] {
				jobs[j] = true
			}
		}
	}
	return jobs
}

// linksOf are the links in /proc/PID to all that a process holds.
func linksOf(proc string) []string {
	links := []string{"cwd", "root", "exe"}
	for _, dir := range []string{"fd", "map_files"} {
		names, err := DirNames(filepath.Join(proc, dir))
		if err != nil {
			continue // not ours to see, or gone
		}
		for _, name := range names {
			links = append(links, dir+"/"+name)
		}
	}
	return links
}
