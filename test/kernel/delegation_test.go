// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package kernel

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// An NFS server's delegation of a file is called back before the file is
// discarded: whoever discards it waits, and does not fail. While it waits, the
// directory is not locked.
func TestDelegation(t *testing.T) {
	o := newOverlay(t)
	o.layer("f", "g")
	o.start()
	if os.Getenv("OVL_VM") == "debug" {
		return // that kernel loads no modules
	}
	if out, err := exec.Command("insmod", "/lib/modules/deleg.ko").CombinedOutput(); err != nil {
		t.Fatalf("insmod deleg.ko: %v: %s", err, out)
	}
	defer func() {
		if out, err := exec.Command("rmmod", "deleg").CombinedOutput(); err != nil {
			t.Errorf("rmmod deleg: %v: %s", err, out)
		}
	}()
	device, err := os.OpenFile("/dev/deleg", os.O_WRONLY, 0)
	o.must(err)
	defer device.Close()
	tell := func(text string) error {
		_, err := device.WriteString(text)
		return err
	}

	o.must(os.WriteFile(o.merged("f"), []byte("changed"), 0))
	open := o.openFile("f", os.O_RDONLY)
	o.must(tell(fmt.Sprint(open.Fd())))
	o.want(tell("?"), unix.EAGAIN)
	discarded := make(chan error, 1)
	go func() { discarded <- o.tryDiscard("f") }()
	for end := time.Now().Add(20 * time.Second); tell("?") != nil; {
		if time.Now().After(end) {
			t.Fatal("nobody calls the delegation back")
		}
		time.Sleep(time.Millisecond)
	}
	select {
	case err := <-discarded:
		t.Fatalf("discarded while there is a delegation: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	o.wantContent("f", "changed")
	o.must(os.Remove(o.merged("g")))
	o.restore("g")

	o.must(tell("-"))
	select {
	case err := <-discarded:
		o.must(err)
	case <-time.After(20 * time.Second):
		t.Fatal("not discarded, although the delegation was given back")
	}
	o.wantLower("f")
	if got := readAll(t, open); got != "changed" {
		t.Errorf("the open file holds %q", got)
	}

	// A user's lease is about opening the file, and is in nobody's way here.
	o.must(os.WriteFile(o.merged("f"), []byte("changed"), 0))
	leased := o.openFile("f", os.O_RDONLY)
	_, err = unix.FcntlInt(leased.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	o.must(err)
	o.discard("f")
	o.wantLower("f")
	if kind, err := unix.FcntlInt(leased.Fd(), unix.F_GETLEASE, 0); err != nil || kind != unix.F_RDLCK {
		t.Errorf("the lease after the discard: %d, %v", kind, err)
	}
}
