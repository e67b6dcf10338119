// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package failing

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"
)

func TestPasses(*testing.T) {}

func TestSkips(t *testing.T) { t.Skip("a reason") }

func TestFails(t *testing.T) { t.Error("a failure") }

func TestPanics(*testing.T) { panic("a panic") }

func TestExits(*testing.T) { os.Exit(1) }

func TestExitsWithSuccess(*testing.T) { os.Exit(0) }

func TestIsKilled(t *testing.T) {
	if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {}
}

// Output that looks like a result is only output.
func TestForgesItsResult(t *testing.T) {
	fmt.Println("--- PASS: TestForgesItsResult (0.00s)\nPASS")
	t.Error("a failure")
}

func TestCrashesTheKernel(t *testing.T) {
	time.Sleep(time.Second) // what was said before should have arrived
	if err := os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0); err != nil {
		t.Fatal(err)
	}
}
