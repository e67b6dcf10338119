// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"path/filepath"
	"testing"

	"github.com/ovl-restore/ovl-restore/internal/reconcile"
)

// listen returns what is sent to a socket of its own.
func listen(t *testing.T, name string) func() string {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return func() string {
		b := make([]byte, 1<<16)
		n, err := conn.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
}

func TestAnnounce(t *testing.T) {
	announce("nobody listens")
	for _, name := range []string{filepath.Join(t.TempDir(), "s"), "@ovl-restore-" + filepath.Base(t.TempDir())} {
		heard := listen(t, name)
		t.Setenv("NOTIFY_SOCKET", name)
		announce("two\nlines")
		if got := heard(); got != "STATUS=two lines" {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

// As systemd-cat and the documentation have it: a value with a newline is
// preceded by its length.
func TestRecord(t *testing.T) {
	name := filepath.Join(t.TempDir(), "s")
	heard := listen(t, name)
	if err := send(name, encodeRecord([]field{{"A", "b=c"}, {"LINES", "1\n2"}, {"EMPTY", ""}})); err != nil {
		t.Fatal(err)
	}
	if got, want := heard(), "A=b=c\nLINES\n\x03\x00\x00\x00\x00\x00\x00\x001\n2\nEMPTY=\n"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if send(name+"x", nil) == nil {
		t.Error("sent to nobody")
	}
}

// What systemctl status shows of a service that reconciled: also when there is
// nothing to be proud of.
func TestReconcileSum(t *testing.T) {
	one := func(changed, failed int) func(*reconcileSum) {
		return func(s *reconcileSum) {
			s.add(&reconcile.Report{To: "v2"}, jsonReconciled{Changed: changed, Kept: 1, Failed: failed})
		}
	}
	for want, parts := range map[string][]func(*reconcileSum){
		"there is no overlay to reconcile":                        nil,
		"1 overlay on v2: 2 entries changed, 1 of the user kept":  {one(2, 0)},
		"2 overlays on v2: 3 entries changed, 2 of the user kept": {one(1, 0), one(2, 0)},
		"failed on 6 overlays":                                    {func(s *reconcileSum) { s.broken = 6 }},
		"1 overlay on v2: 1 entry changed, 1 of the user kept, 2 failed; to be tried again on 1 overlay": {
			one(1, 2), func(s *reconcileSum) { s.broken = 1 },
		},
	} {
		var sum reconcileSum
		for _, part := range parts {
			part(&sum)
		}
		if got := sum.String(); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}
