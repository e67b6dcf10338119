// SPDX-License-Identifier: Apache-2.0

package vm_test

import (
	"bytes"
	"sync"
)

// lines counts the lines that are written to it.
type lines struct {
	mu    sync.Mutex
	n     int
	first chan struct{}
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := bytes.Count(b, []byte("\n"))
	if l.n == 0 && n > 0 {
		close(l.first)
	}
	l.n += n
	return len(b), nil
}
