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

// holders finds the processes that have the inode open, mapped, or as working
// or root directory. It sees what /proc shows to this user.
func holders(dev, ino uint64) []Holder {
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var found []Holder
	for _, p := range procs {
		pid, err := strconv.Atoi(p.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		dir := filepath.Join("/proc", p.Name())
		if holds(dir, dev, ino) {
			comm, _ := os.ReadFile(filepath.Join(dir, "comm")) // gone since: nameless
			found = append(found, Holder{PID: pid, Comm: strings.TrimSpace(string(comm))})
		}
	}
	return found
}

func holds(proc string, dev, ino uint64) bool {
	links := []string{"cwd", "root", "exe"}
	for _, dir := range []string{"fd", "map_files"} {
		entries, err := os.ReadDir(filepath.Join(proc, dir))
		if err != nil {
			continue // not ours to see, or gone
		}
		for _, e := range entries {
			links = append(links, dir+"/"+e.Name())
		}
	}
	for _, link := range links {
		var st unix.Stat_t
		if unix.Stat(filepath.Join(proc, link), &st) == nil && st.Dev == dev && st.Ino == ino {
			return true
		}
	}
	return false
}
