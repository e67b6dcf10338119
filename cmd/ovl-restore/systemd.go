// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// journalSocket is where systemd's journal takes records with fields.
const journalSocket = "/run/systemd/journal/socket"

// field is a field of a record in the journal.
type field struct{ name, value string }

// record tells what goes on, as note does. In systemd's journal the message has
// fields that a program can ask for; names are upper case.
func (p *printer) record(message string, fields ...field) {
	if p.quiet {
		return
	}
	if p.journal {
		_ = p.stdout.Flush() // keep the order
		fields = append(fields, field{"MESSAGE", "ovl-restore: " + message},
			field{"PRIORITY", strings.Trim(priorityInfo, "<>")}, field{"SYSLOG_IDENTIFIER", "ovl-restore"})
		if send(journalSocket, encodeRecord(fields)) == nil {
			return
		}
	}
	p.note(message)
}

// encodeRecord writes fields as the journal reads them; see "Native Journal
// Protocol" in systemd's documentation.
func encodeRecord(fields []field) []byte {
	var data []byte
	for _, f := range fields {
		data = append(data, f.name...)
		if strings.Contains(f.value, "\n") {
			data = append(data, '\n')
			data = binary.LittleEndian.AppendUint64(data, uint64(len(f.value)))
		} else {
			data = append(data, '=')
		}
		data = append(append(data, f.value...), '\n')
	}
	return data
}

// announce says in a line of "systemctl status" what became of a service that
// systemd started, or does nothing; see sd_notify(3).
func announce(status string) {
	if socket := os.Getenv("NOTIFY_SOCKET"); socket != "" {
		// It is for people to read, and nothing depends on it.
		_ = send(socket, []byte("STATUS="+strings.ReplaceAll(status, "\n", " ")))
	}
}

// send sends a datagram to a Unix socket. A name that begins with @ is abstract.
// It does not wait: a journal that is stuck must not stop us.
func send(socket string, data []byte) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Sendto(fd, data, unix.MSG_NOSIGNAL, &unix.SockaddrUnix{Name: socket})
}
