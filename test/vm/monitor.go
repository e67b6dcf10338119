// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
)

// monitor is QEMU's machine protocol, as far as it is needed to give commands
// of the human monitor, which can do more.
type monitor struct {
	mu    sync.Mutex // one command at a time
	conn  net.Conn
	in    *json.Decoder
	ready bool
}

func newMonitor(conn net.Conn) *monitor {
	return &monitor{conn: conn, in: json.NewDecoder(conn)}
}

// command returns what the human monitor prints for a command line.
func (m *monitor) command(ctx context.Context, line string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	deadline, _ := ctx.Deadline() // none is the zero time, which takes off the last one
	if err := m.conn.SetDeadline(deadline); err != nil {
		return "", fmt.Errorf("set the time limit: %w", err)
	}
	if !m.ready {
		// The protocol wants its greeting acknowledged first.
		if _, err := m.execute("qmp_capabilities", nil); err != nil {
			return "", err
		}
		m.ready = true
	}
	out, err := m.execute("human-monitor-command", map[string]string{"command-line": line})
	if err != nil {
		return "", err
	}
	var text string
	if err := json.Unmarshal(out, &text); err != nil {
		return "", fmt.Errorf("read QEMU's answer: %w", err)
	}
	return text, nil
}

func (m *monitor) execute(command string, arguments any) (json.RawMessage, error) {
	err := json.NewEncoder(m.conn).Encode(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
	}{command, arguments})
	if err != nil {
		return nil, fmt.Errorf("send to QEMU: %w", err)
	}
	// Greeting and events come in between.
	for {
		var answer struct {
			Return json.RawMessage
			Error  *struct{ Desc string }
		}
		if err := m.in.Decode(&answer); err != nil {
			return nil, fmt.Errorf("hear from QEMU: %w", err)
		}
		switch {
		case answer.Error != nil:
			return nil, errors.New(answer.Error.Desc)
		case answer.Return != nil:
			return answer.Return, nil
		}
	}
}

func (m *monitor) close() { _ = m.conn.Close() }
