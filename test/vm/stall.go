// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"fmt"
	"time"
)

// stallWatch ends a context when nothing has been written for too long: on a
// busy machine tests take their time, but they keep talking.
type stallWatch struct {
	limit time.Duration
	timer *time.Timer
}

// watchStalls returns a context that ends with the watch.
func watchStalls(ctx context.Context, limit time.Duration) (context.Context, *stallWatch) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(limit, func() {
		cancel(fmt.Errorf("%w: nothing was heard of it for %s", ErrHung, limit))
	})
	return ctx, &stallWatch{limit: limit, timer: timer}
}

// Write puts the end off.
func (w *stallWatch) Write(b []byte) (int, error) {
	w.timer.Reset(w.limit)
	return len(b), nil
}

func (w *stallWatch) stop() { w.timer.Stop() }
