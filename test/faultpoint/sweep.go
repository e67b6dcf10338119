// SPDX-License-Identifier: Apache-2.0

package faultpoint

import (
	"os"
	"testing"
)

// Scenario is one run of a program, on what was set up for it.
type Scenario struct {
	Program
	// Check looks at what the program left behind: after it was stopped, and, the
	// last time, after it came to its end.
	Check func(t *testing.T, stop Stop)
}

// Sweep runs a scenario once for each call of its program that changes
// something, with the fault at that call, and at last without; it returns how
// many calls there were, at most. prepare sets up a new scenario each time.
func Sweep(t *testing.T, fault Fault, prepare func(t *testing.T) Scenario) int {
	t.Helper()
	for n := 1; ; n += max(1, fault.every) {
		ended := false
		if !t.Run(stepName(n), func(t *testing.T) {
			s := prepare(t)
			stop, err := fault.Run(s.Program, n)
			if err != nil {
				t.Fatal(err)
			}
			ended = stop.N == 0
			s.Check(t, stop)
			if t.Failed() {
				t.Logf("at %v; it printed:\n%s", stop, stop.Out)
			}
		}) {
			return n // the rest fails likewise, as a rule
		}
		if ended {
			return n - 1
		}
	}
}

func stepName(n int) string {
	const digits = "0123456789"
	return string([]byte{digits[n/1000%10], digits[n/100%10], digits[n/10%10], digits[n%10]})
}

// scenarioVar names the scenario that a test binary is to run in place of its
// tests.
const scenarioVar = "OVL_FAULTPOINT"

// Self is the program that runs this test binary with one of the scenarios that
// Main was given; args are for it.
func Self(scenario string, args ...string) Program {
	return Program{
		Args: append([]string{"/proc/self/exe"}, args...),
		Env:  append(os.Environ(), scenarioVar+"="+scenario),
	}
}

// Main runs a scenario and exits, where Self asks for that; else it returns. It is
// to be called at the beginning of TestMain.
func Main(scenarios map[string]func(args []string) error) {
	name := os.Getenv(scenarioVar)
	if name == "" {
		return
	}
	run := scenarios[name]
	if run == nil {
		os.Stderr.WriteString("faultpoint: no scenario " + name + "\n")
		os.Exit(2)
	}
	if err := run(os.Args[1:]); err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
	os.Exit(0)
}
