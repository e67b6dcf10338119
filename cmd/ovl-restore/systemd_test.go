// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"path/filepath"
	"testing"
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
