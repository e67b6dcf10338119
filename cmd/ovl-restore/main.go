// SPDX-License-Identifier: Apache-2.0

// Command ovl-restore brings lower-layer files of an overlayfs back on a running
// system.
package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"strconv"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// version is set by the build, from git.
var version = "unknown"

// Exit codes.
const (
	exitFailed = 1 // something was not done; each failure was printed
	exitUsage  = 2 // the command line was not understood, nothing was done
)

func run() int {
	// A second signal ends the process the usual way.
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	out := newPrinter(os.Stdout, os.Stderr)
	code := 0
	cmd, err := newRoot(out).ExecuteContextC(ctx)
	var exit *exitError
	switch {
	case errors.As(err, &exit):
		code = exit.code
	case errors.As(err, new(*failedError)):
		code = exitFailed
	case err != nil:
		// What is wrong with a command line, cobra says or we do.
		out.fatal(&usageError{err})
		code = codeOf(cmd, usageCode, exitUsage)
	}
	if !out.flush() {
		return max(code, codeOf(cmd, failedCode, exitFailed))
	}
	return code
}

// Annotations of commands whose exit codes are not the usual ones.
const (
	usageCode  = "usage-code"
	failedCode = "failed-code"
)

func codeOf(cmd *cobra.Command, annotation string, usual int) int {
	if code, err := strconv.Atoi(cmd.Annotations[annotation]); err == nil {
		return code
	}
	return usual
}

// usageError is a command line that cannot be understood.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// failedError ends the program after its failures were printed.
type failedError struct{}

func (*failedError) Error() string { return "failed" }

// printed prints an error of a command, unless that was done, or it is about the
// command line, or there is none.
func printed(out *printer, err error) error {
	if err == nil || errors.As(err, new(*exitError)) || errors.As(err, new(*failedError)) || errors.As(err, new(*usageError)) {
		return err
	}
	out.fatal(err)
	return &failedError{}
}
