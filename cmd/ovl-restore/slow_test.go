// SPDX-License-Identifier: Apache-2.0

//go:build !vmguest

package main

import "testing"

// TestSlowScripts runs what takes a minute in an emulated guest, and is no matter of
// the kernel: programs are traced through thousands of calls, to be interrupted, or
// to be slow, in the middle.
func TestSlowScripts(t *testing.T) { runScripts(t, "testdata/slow") }
