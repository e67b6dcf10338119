// SPDX-License-Identifier: Apache-2.0

// Command ovl-restore brings lower-layer files of an overlayfs back on a running
// system.
package main

import (
	"context"
	"errors"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// version is set by the build, from git.
var version = "unknown"

// Exit codes.
const (
	exitFailed = 1 // something was not done; each failure was printed
	exitUsage  = 2
)

func main() {
	os.Exit(run())
}

func run() int {
	// A second signal ends the process the usual way.
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	out := newPrinter(os.Stdout, os.Stderr)
	err := newRoot(out).ExecuteContext(ctx)
	code := 0
	var failed *failedError
	switch {
	case err == nil:
	case errors.As(err, &failed):
		code = exitFailed
	default:
		out.fatal(err)
		code = exitFailed
		if errors.As(err, new(*usageError)) {
			code = exitUsage
		}
	}
	if err := out.flush(); err != nil {
		return exitFailed
	}
	return code
}

// usageError is a command line that cannot be understood.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// failedError ends the program after its failures were printed.
type failedError struct{}

func (*failedError) Error() string { return "failed" }
