// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"errors"
	"fmt"
	"io"

	"github.com/ovl-restore/ovl-restore/test/vm/wire"
)

// collector puts a command's output where it belongs.
type collector struct {
	command Command
	result  *Result
}

// take takes messages and reports whether the last of them was the command's
// last.
func (c *collector) take(messages []wire.Message) (ended bool, err error) {
	for _, m := range messages {
		c.result.Stdout = append(c.result.Stdout, m.Stdout...)
		c.result.Stderr = append(c.result.Stderr, m.Stderr...)
		c.result.Combined = append(append(c.result.Combined, m.Stdout...), m.Stderr...)
		if err := errors.Join(pass(c.command.Stdout, m.Stdout), pass(c.command.Stderr, m.Stderr)); err != nil {
			return false, err
		}
		if m.Exit == nil {
			continue
		}
		c.result.Code, c.result.Signal = m.Exit.Code, m.Exit.Signal
		if m.Exit.Error != "" {
			return true, errors.New(m.Exit.Error)
		}
		return true, nil
	}
	return false, nil
}

func pass(w io.Writer, b []byte) error {
	if w == nil || len(b) == 0 {
		return nil
	}
	if _, err := w.Write(b); err != nil {
		return fmt.Errorf("pass on the output: %w", err)
	}
	return nil
}
