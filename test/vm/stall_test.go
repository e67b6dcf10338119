// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestStallEndsContext(t *testing.T) {
	ctx, watch := watchStalls(t.Context(), time.Millisecond)
	defer watch.stop()
	<-ctx.Done()
	if err := context.Cause(ctx); !errors.Is(err, ErrHung) {
		t.Errorf("cause: %v, want %v", err, ErrHung)
	}
}
