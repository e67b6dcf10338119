// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/ovl-restore/ovl-restore/test/vm/wire"
)

// agentConn is the line to the program that runs in the guest.
type agentConn struct {
	conn  net.Conn
	nonce string

	ready chan struct{} // closed at the first hello
	bye   chan struct{} // closed when the guest takes its leave
	done  chan struct{} // closed when the line has ended; then err says how
	err   error

	sending sync.Mutex

	mu      sync.Mutex
	hello   *wire.Hello
	lastID  int
	waiting map[int]*inbox
}

func readAgent(conn net.Conn, nonce string) *agentConn {
	a := &agentConn{
		conn:    conn,
		nonce:   nonce,
		ready:   make(chan struct{}),
		bye:     make(chan struct{}),
		done:    make(chan struct{}),
		waiting: make(map[int]*inbox),
	}
	go func() {
		a.err = a.read()
		close(a.done)
	}()
	return a
}

// read distributes what the guest says until the line ends.
func (a *agentConn) read() error {
	in := json.NewDecoder(a.conn)
	for {
		var m wire.Message
		err := in.Decode(&m)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrUnexpectedEOF):
			return ErrDied
		case err != nil:
			return fmt.Errorf("%w: its words make no sense: %w", ErrDied, err)
		}
		if err := a.handle(m); err != nil {
			return err
		}
	}
}

func (a *agentConn) handle(m wire.Message) error {
	switch {
	case m.Hello != nil:
		if m.Hello.Nonce != a.nonce {
			return fmt.Errorf("%w: it said hello with another boot's nonce", ErrDied)
		}
		a.mu.Lock()
		first := a.hello == nil
		a.hello = m.Hello
		a.mu.Unlock()
		// A second hello is an agent's that was started again after switch_root.
		if first {
			close(a.ready)
		}
	case m.Bye:
		close(a.bye)
	default:
		a.mu.Lock()
		to := a.waiting[m.ID]
		a.mu.Unlock()
		if to != nil {
			to.put(m)
		}
	}
	return nil
}

func (a *agentConn) release() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.hello.Release
}

func (a *agentConn) send(r wire.Request) error {
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode a request: %w", err)
	}
	a.sending.Lock()
	defer a.sending.Unlock()
	if _, err := a.conn.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("%w: %w", ErrDied, err)
	}
	return nil
}

// register returns a new request's ID and where its answers go.
func (a *agentConn) register() (int, *inbox) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lastID++
	in := newInbox()
	a.waiting[a.lastID] = in
	return a.lastID, in
}

func (a *agentConn) forget(id int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.waiting, id)
}

// shutdown asks for the guest's end and waits for its bye.
func (a *agentConn) shutdown(ctx context.Context) error {
	if err := a.send(wire.Request{Shutdown: true}); err != nil {
		return err
	}
	select {
	case <-a.bye:
		return nil
	case <-a.done:
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrHung, context.Cause(ctx))
	}
	// Bye and the end of the line may have come together.
	select {
	case <-a.bye:
		return nil
	default:
		return a.err
	}
}

func (a *agentConn) close() { _ = a.conn.Close() }
