// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// progress is a line on a terminal that says how far the work is. Work that is
// done within a second shows none.
type progress struct {
	out   io.Writer
	now   func() time.Time
	mu    sync.Mutex // what follows, and that the line is whole
	next  time.Time  // when to show it, or to renew it
	shown bool
}

const (
	progressAfter = time.Second
	progressEvery = 100 * time.Millisecond
)

// begin starts the clock.
func (p *progress) begin() { p.next = p.now().Add(progressAfter) }

// update shows the line where it is time to.
func (p *progress) update(done, total int) {
	if total > 0 {
		p.show(strconv.Itoa(100*done/total) + "%")
	}
}

func (p *progress) show(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if now.Before(p.next) {
		return
	}
	p.next, p.shown = now.Add(progressEvery), true
	_, _ = io.WriteString(p.out, "\rovl-restore: "+text)
}

// clear takes the line away, for others to write.
func (p *progress) clear() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.shown {
		return
	}
	p.shown = false
	_, _ = io.WriteString(p.out, "\r\x1b[K")
}

// watch shows on a terminal how many entries were looked at, until it is told to
// stop.
func (p *printer) watch(looked *atomic.Int64) (stop func()) {
	if p.progress == nil {
		return func() {}
	}
	return p.progress.count(looked, time.NewTicker(progressEvery))
}

// count shows a counter until it is told to stop. The clock goes on from one to
// the next.
func (p *progress) count(n *atomic.Int64, ticks *time.Ticker) (stop func()) {
	if p.next.IsZero() {
		p.begin()
	}
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-ticks.C:
				p.show(strconv.FormatInt(n.Load(), 10) + " entries")
			}
		}
	})
	return sync.OnceFunc(func() {
		ticks.Stop()
		close(done)
		watching.Wait()
		p.clear()
	})
}
