// SPDX-License-Identifier: Apache-2.0

//go:build !amd64 && !386

package faultpoint

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Only Kill works on these machines.
var errNoFail = errors.New("faultpoint: this machine's registers are not known, a call cannot be made to fail")

func skipCall(int) error { return errNoFail }

func setResult(int, unix.Errno) error { return errNoFail }
