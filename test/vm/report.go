// SPDX-License-Identifier: Apache-2.0

package vm

import "testing"

// Report makes every test of a run a subtest of t, with its output and its
// outcome, and fails t if the run as a whole went wrong.
func (r *TestRun) Report(t *testing.T) {
	t.Helper()
	for _, test := range r.Tests {
		test.report(t)
	}
	if err := r.Err(); err != nil {
		t.Error(err)
	}
}

func (test *Test) report(t *testing.T) {
	t.Run(test.Name, func(t *testing.T) {
		for _, sub := range test.Sub {
			sub.report(t)
		}
		switch test.Outcome {
		case Pass:
		case Skip:
			t.Skip(test.Output)
		case Fail:
			t.Errorf("failed in the guest:\n%s", test.Output)
		case Unfinished:
			t.Errorf("did not finish in the guest:\n%s", test.Output)
		}
	})
}
