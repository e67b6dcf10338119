// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"sync"

	"github.com/ovl-restore/ovl-restore/test/vm/wire"
)

// inbox keeps what the guest says to one request. It has no limit, so the
// reader of the line never waits for somebody who has left.
type inbox struct {
	mu    sync.Mutex
	queue []wire.Message
	more  chan struct{} // holds a token when there may be something new
}

func newInbox() *inbox {
	return &inbox{more: make(chan struct{}, 1)}
}

func (b *inbox) put(m wire.Message) {
	b.mu.Lock()
	b.queue = append(b.queue, m)
	b.mu.Unlock()
	select {
	case b.more <- struct{}{}:
	default:
	}
}

// take returns all that is there and empties the inbox.
func (b *inbox) take() []wire.Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	q := b.queue
	b.queue = nil
	return q
}
