// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/ioctl"
)

// auditChild, in the environment, makes the test binary restore a path.
// A process that was there before audit was enabled is never audited.
const auditChild = "OVL_KERNEL_AUDIT"

// restoreChild does what a value of auditChild asks for: MOUNT, PATH and the
// flags, or "test", in lines.
func restoreChild(how string) error {
	parts := strings.Split(how, "\n")
	dir, err := os.Open(parts[0])
	if err != nil {
		return err
	}
	m := ioctl.NewMount(dir)
	switch parts[2] {
	case "restore":
		return m.RestoreLower(parts[1], 0)
	case "discard":
		return m.RestoreLower(parts[1], ioctl.DiscardUpper)
	case "test":
		return m.IsRestorable(parts[1])
	}
	return fmt.Errorf("%q", how)
}

// audit is the connection of what a system's audit daemon would be.
type audit struct {
	t  testing.TB
	fd int
}

func newAudit(t testing.TB) *audit {
	t.Helper()
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_AUDIT)
	if err != nil {
		t.Fatal(err)
	}
	a := &audit{t: t, fd: fd}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 20}); err != nil {
		t.Fatal(err)
	}
	a.status(1, uint32(os.Getpid()))
	rule := a.rule()
	a.request(unix.AUDIT_ADD_RULE, rule)
	t.Cleanup(func() {
		a.request(unix.AUDIT_DEL_RULE, rule)
		a.status(0, 0)
		unix.Close(fd)
	})
	return a
}

// status enables audit, with its messages sent to a process.
func (a *audit) status(enabled, pid uint32) {
	const maskEnabled, maskPid = 1, 4
	status := make([]uint32, 11)
	status[0], status[1], status[3] = maskEnabled|maskPid, enabled, pid
	a.request(unix.AUDIT_SET, encode(status))
}

// rule has each ioctl reported, whatever its end.
func (a *audit) rule() []byte {
	rule := make([]uint32, 3+64*4+1)
	rule[0], rule[1] = unix.AUDIT_FILTER_EXIT, unix.AUDIT_ALWAYS
	rule[3+unix.SYS_IOCTL/32] = 1 << (unix.SYS_IOCTL % 32)
	return encode(rule)
}

func encode(words []uint32) []byte {
	var b bytes.Buffer
	for _, w := range words {
		b.Write(binary.NativeEndian.AppendUint32(nil, w))
	}
	return b.Bytes()
}

// request sends a request and waits until it is acknowledged.
func (a *audit) request(kind uint16, data []byte) {
	a.t.Helper()
	m := encode([]uint32{uint32(unix.NLMSG_HDRLEN + len(data)), 0, 1, 0})
	binary.NativeEndian.PutUint16(m[4:], kind)
	binary.NativeEndian.PutUint16(m[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	if err := unix.Sendto(a.fd, append(m, data...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		a.t.Fatalf("audit request %d: %v", kind, err)
	}
	for {
		got, data := a.receive()
		if got != unix.NLMSG_ERROR {
			continue
		}
		if errno := int32(binary.NativeEndian.Uint32(data)); errno != 0 {
			a.t.Fatalf("audit request %d: %v", kind, syscall.Errno(-errno))
		}
		return
	}
}

func (a *audit) receive() (kind uint16, data []byte) {
	a.t.Helper()
	buf := make([]byte, 16384)
	for {
		n, _, err := unix.Recvfrom(a.fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			a.t.Fatalf("read what audit says: %v", err)
		}
		return binary.NativeEndian.Uint16(buf[4:]), buf[unix.NLMSG_HDRLEN:n]
	}
}

// How our ioctls and names look in audit's messages.
var (
	auditOurs = regexp.MustCompile(`\ba1=(40104f0[12]|c0204f03)\b`)
	auditPath = regexp.MustCompile(`name="?([^" ]*)"? .*nametype=([A-Z]+)`)
)

// of runs a child, and returns how its ioctl ended and the names with what
// became of them, without parents.
func (a *audit) of(o *overlay, uid int, name, how string) (success string, names []string) {
	a.t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), auditChild+"="+strings.Join([]string{o.Merged, o.merged(name), how}, "\n"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	_ = cmd.Run() // audit says how it ended
	deadline := time.Now().Add(20 * time.Second)
	ours := false
	for time.Now().Before(deadline) {
		kind, data := a.receive()
		text := string(data)
		switch {
		case kind == unix.AUDIT_SYSCALL:
			ours = auditOurs.MatchString(text)
			names = nil
			success = "no"
			if strings.Contains(text, "success=yes") {
				success = "yes"
			}
		case kind == unix.AUDIT_PATH && ours:
			if m := auditPath.FindStringSubmatch(text); len(m) == 3 && m[2] != "PARENT" && m[2] != "NORMAL" {
				names = append(names, m[2])
			}
		case kind == unix.AUDIT_EOE && ours:
			return success, names
		}
	}
	a.t.Fatal("audit says nothing")
	return "", nil
}

// Audit learns which name was made, also when that was refused; asking changes
// nothing, so there is nothing to learn.
func TestAudit(t *testing.T) {
	o := newOverlay(t)
	o.layer("f", "g", "bin/suid")
	o.must(os.Chmod(o.lower("bin/suid"), 0o755|os.ModeSetuid))
	o.must(os.Chmod(o.lower("bin"), 0o777))
	o.start()
	if os.Getenv("OVL_VM") == "debug" {
		return // that kernel is built without
	}
	o.public()
	o.must(os.Chmod(o.merged("bin"), 0o777))
	o.remove("f")
	o.remove("bin/suid")
	o.must(os.WriteFile(o.merged("g"), []byte("changed"), 0))
	a := newAudit(t)
	for _, test := range []struct {
		uid           int
		name, how     string
		success, want string
	}{
		{0, "f", "test", "yes", ""},
		{0, "f", "restore", "yes", "CREATE DELETE"},
		{0, "g", "discard", "yes", "CREATE DELETE"},
		{alice, "bin/suid", "test", "no", ""},
		{alice, "bin/suid", "restore", "no", "CREATE"},
	} {
		success, names := a.of(o, test.uid, test.name, test.how)
		// Each may be there several times, in any order: of the overlay, and of
		// its upper layer, where a whiteout is deleted.
		slices.Sort(names)
		got := strings.Join(slices.Compact(names), " ")
		if success != test.success || got != test.want {
			t.Errorf("%s %s as %d: success=%s, %q, want %s, %q", test.how, test.name, test.uid, success, got, test.success, test.want)
		}
	}
	o.wantLower("f")
	o.wantLower("g")
	o.wantWhiteout("bin/suid", true)
}
