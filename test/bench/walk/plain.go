// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// plain is what anybody would write for one thread: getdents, the type of each
// entry, and for each directory a look at its opaque mark. With found, it does
// what marks does, but for the order: it makes sure of each whiteout, and hands
// out its path.
func plain(top string, found func(path string)) error {
	buf := make([]byte, 64<<10)
	todo := []string{top}
	for len(todo) > 0 {
		path := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		var value [8]byte
		if _, err := unix.Fgetxattr(fd, "trusted.overlay.opaque", value[:]); err != nil && !errors.Is(err, unix.ENODATA) {
			return err
		}
		for {
			n, err := unix.Getdents(fd, buf)
			if err != nil {
				return err
			}
			if n == 0 {
				break
			}
			for rec := buf[:n]; len(rec) > 0; {
				length := binary.NativeEndian.Uint16(rec[16:])
				name := rec[19:length]
				name = name[:bytes.IndexByte(name, 0)]
				if rec[18] == unix.DT_DIR && string(name) != "." && string(name) != ".." {
					todo = append(todo, path+"/"+string(name))
				}
				if rec[18] == unix.DT_CHR && found != nil {
					var st unix.Stat_t
					if err := unix.Fstatat(fd, string(name), &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
						return err
					}
					if st.Rdev == 0 {
						found(path + "/" + string(name))
					}
				}
				rec = rec[length:]
			}
		}
		if err := unix.Close(fd); err != nil {
			return err
		}
	}
	return nil
}
