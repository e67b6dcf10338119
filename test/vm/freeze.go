// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// frozenWords are what a guest's Init prints when it can be frozen: then it waits
// for a line on its console. It must not have touched its disks.
const frozenWords = "ovl-vm: freeze"

// Frozen is a guest that was stopped early in its boot, with all that it had in
// memory. A guest that is thawed goes on from there, as often as one likes, and
// saves the time until then. Close it after use.
type Frozen struct {
	config Config
	nonce  string
	dir    string
}

// Freeze boots a guest whose Init says when to freeze it.
func Freeze(ctx context.Context, config Config) (_ *Frozen, err error) {
	v, err := newVM(config)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("freeze Linux %s: %w", config.Kernel.Release, err), v.Kill())
		}
	}()
	if err := v.config.writeInitramfs(ctx, v.path("initramfs")); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, v.config.bootLimit(), ErrHung)
	defer cancel()
	if err := v.start(ctx); err != nil {
		return nil, err
	}
	for !strings.Contains(v.Console(), frozenWords) {
		select {
		case <-v.console.done:
			return nil, v.explain(ErrDied)
		case <-ctx.Done():
			return nil, v.explain(context.Cause(ctx))
		case <-time.After(10 * time.Millisecond):
		}
	}
	if _, err := v.Monitor(ctx, `migrate "exec:exec cat >'`+v.path("frozen")+`'"`); err != nil {
		return nil, err
	}
	for done := false; !done; {
		state, err := v.Monitor(ctx, "info migrate")
		if err == nil && strings.Contains(state, "failed") {
			err = fmt.Errorf("save the guest's state: %s", state)
		}
		if err != nil {
			return nil, err
		}
		done = strings.Contains(state, "completed")
		time.Sleep(10 * time.Millisecond)
	}
	v.end()
	return &Frozen{config: config, nonce: v.nonce, dir: v.dir}, nil
}

// Close removes what the guest had in memory.
func (f *Frozen) Close() error { return os.RemoveAll(f.dir) }

// Thaw goes on with the guest, with disks in the place of those that it was frozen
// with. Its Init reads the line.
func (f *Frozen) Thaw(ctx context.Context, disks []Disk, line string) (*VM, error) {
	config := f.config
	config.Disks = disks
	v, err := newVM(config)
	if err != nil {
		return nil, err
	}
	v.nonce, v.frozen = f.nonce, f.dir
	if err := v.thaw(ctx, line); err != nil {
		return nil, errors.Join(fmt.Errorf("thaw Linux %s: %w", f.config.Kernel.Release, err), v.Kill())
	}
	return v, nil
}

func (v *VM) thaw(ctx context.Context, line string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, v.config.bootLimit(), ErrHung)
	defer cancel()
	if err := v.start(ctx); err != nil {
		return err
	}
	// What is written before that is lost: the serial port has its old state still.
	for {
		state, err := v.Monitor(ctx, "info status")
		if err != nil {
			return v.explain(err)
		}
		if strings.Contains(state, "running") {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if _, err := io.WriteString(v.console.conn, line+"\n"); err != nil {
		return v.explain(fmt.Errorf("%w: %w", ErrDied, err))
	}
	return v.await(ctx)
}
