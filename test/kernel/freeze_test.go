// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package kernel

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	fiFreeze = 0xc0045877
	fiThaw   = 0xc0045878
)

// Whoever holds the upper file system for writing, and asks for it once more,
// waits for ever when it is frozen in between.
func TestFreeze(t *testing.T) {
	if os.Getenv("OVL_SCRATCH") == "" {
		t.Fatal("no disk")
	}
	o := newOverlay(t)
	const threads = 3
	for i := range threads {
		o.layer(fmt.Sprintf("f%d", i))
	}
	o.start()
	disk, err := os.Open(o.Upper)
	o.must(err)
	defer disk.Close()

	stop := make(chan struct{})
	done := make(chan error, threads)
	for i := range threads {
		name := fmt.Sprintf("f%d", i)
		go func() {
			// Nothing is copied up: Linux 6.1 itself asks twice there.
			for {
				select {
				case <-stop:
					done <- nil
					return
				default:
				}
				err := errors.Join(
					os.Remove(o.merged(name)),
					o.tryRestore(name),
					os.Remove(o.merged(name)),
					unix.Mknod(o.merged(name), unix.S_IFREG|0o644, 0),
					o.tryDiscard(name))
				if err != nil {
					done <- err
					return
				}
			}
		}()
	}
	finished := make(chan error, 1)
	go func() {
		end := time.Now().Add(3 * time.Second)
		for time.Now().Before(end) {
			err := unix.IoctlSetInt(int(disk.Fd()), fiFreeze, 0)
			if err == nil {
				err = unix.IoctlSetInt(int(disk.Fd()), fiThaw, 0)
			}
			if err != nil {
				finished <- err
				return
			}
			time.Sleep(time.Millisecond)
		}
		finished <- nil
	}()
	select {
	case err := <-finished:
		o.must(err)
	case <-time.After(30 * time.Second):
		t.Fatal("the disk cannot be frozen: somebody holds it and waits")
	}
	close(stop)
	for range threads {
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("somebody still waits")
		}
	}
}
