// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/test/vm/wire"
)

// Command is a program to run in the guest.
type Command struct {
	Args  []string // a name without a slash is looked up in the guest's PATH
	Dir   string
	Env   []string // added to the guest's
	Stdin []byte

	// Stdout and Stderr, where set, get the output as it comes.
	Stdout, Stderr io.Writer
}

// Result is how a command ended.
type Result struct {
	Stdout, Stderr []byte
	// Combined is both in the order in which they came.
	Combined []byte
	Code     int    // -1 after a signal
	Signal   string // by which it ended, or empty
}

// Run runs a command in the guest and waits for its end. How it ended is not an
// error; that it could not start, that the guest died or that the context ended
// is, and then the result holds the output so far. A command whose context ends
// is asked for its goroutines' stacks by SIGQUIT, and killed.
func (v *VM) Run(ctx context.Context, c Command) (*Result, error) {
	if len(c.Args) == 0 {
		return nil, errors.New("run: no command")
	}
	r := &Result{}
	err := v.agent.run(ctx, c, &collector{command: c, result: r})
	switch {
	case err == nil:
		return r, nil
	case errors.Is(err, ErrDied) || errors.Is(err, ErrHung):
		return r, v.explain(fmt.Errorf("run %s: %w", strings.Join(c.Args, " "), err))
	default:
		return r, fmt.Errorf("run %s: %w", strings.Join(c.Args, " "), err)
	}
}

// Sh runs a shell script in the guest, with -e, and returns its output. A
// script that fails is an error.
func (v *VM) Sh(ctx context.Context, script string) (string, error) {
	r, err := v.Run(ctx, Command{Args: []string{"sh", "-ec", script}})
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("run %q: exit status %d\n%s", script, r.Code, r.Combined)
	}
	return string(r.Combined), err
}

func (a *agentConn) run(ctx context.Context, c Command, collect *collector) error {
	id, in := a.register()
	defer a.forget(id)
	err := a.send(wire.Request{ID: id, Command: &wire.Command{Args: c.Args, Dir: c.Dir, Env: c.Env, Stdin: c.Stdin}})
	if err != nil {
		return err
	}
	ended, err := a.follow(ctx.Done(), in, collect)
	if ended || err != nil {
		return err
	}
	cause := context.Cause(ctx)
	for _, signal := range []unix.Signal{unix.SIGQUIT, unix.SIGKILL} {
		if err := a.send(wire.Request{ID: id, Signal: int(signal)}); err != nil {
			return errors.Join(cause, err)
		}
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		ended, err := a.follow(grace.Done(), in, collect)
		cancel()
		if ended || err != nil {
			return errors.Join(cause, err)
		}
	}
	return fmt.Errorf("%w: it did not even kill the command: %w", ErrHung, cause)
}

// follow collects what a command says until its end, or until stop.
func (a *agentConn) follow(stop <-chan struct{}, in *inbox, collect *collector) (ended bool, err error) {
	for {
		select {
		case <-in.more:
			if ended, err := collect.take(in.take()); ended || err != nil {
				return ended, err
			}
		case <-a.done:
			// What the guest said before its end is in the inbox by now.
			if ended, err := collect.take(in.take()); ended || err != nil {
				return ended, err
			}
			return false, a.err
		case <-stop:
			return false, nil
		}
	}
}
