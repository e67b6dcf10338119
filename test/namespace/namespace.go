// SPDX-License-Identifier: Apache-2.0

// Package namespace runs a package's tests in a private mount name space, so
// that they can mount real overlays and nothing on the host changes.
//
// A package asks for it in TestMain:
//
//	func TestMain(m *testing.M) { namespace.Main(m) }
//
// or, where the test binary is also the tool under test:
//
//	func TestMain(m *testing.M) { testscript.Main(namespace.Wrap(m), commands) }
//
// As root the tests get a mount name space of their own and may use trusted.*
// extended attributes. Without root they also get a user name space in which
// they are root, with user.* attributes only; see [Privileged]. Inside,
// temporary directories lie on a fresh tmpfs that goes away with the tests.
package namespace

import (
	"errors"
	"fmt"
	"os"
	"testing"
)

// Force is a variable that, set to "user" in the environment, makes the tests of a root user run
// in a user name space too, as they would for everybody else.
const Force = "OVL_TEST_NAMESPACE"

// scratch is how the outer process tells the inner one where its tmpfs goes.
// Only the test binary reads it: a tool run by the tests is inside already.
const scratch = "OVL_TEST_NAMESPACE_SCRATCH"

// runner is what *testing.M and testscript.TestingM have in common.
type runner interface{ Run() int }

// Main runs the tests in a private mount name space and exits.
func Main(m *testing.M) {
	os.Exit(Wrap(m).Run())
}

// Wrap returns an M whose Run runs m's tests in a private mount name space.
// Nothing happens before Run, so a test binary that testscript executes as the
// tool stays in the name space of the test that executes it.
func Wrap(m runner) interface{ Run() int } {
	return wrapped{m}
}

type wrapped struct{ inner runner }

func (w wrapped) Run() int {
	dir := os.Getenv(scratch)
	if dir == "" {
		code, err := outside()
		if err != nil {
			fmt.Fprintf(os.Stderr, "namespace: %v\n", err)
			return 1
		}
		return code
	}
	if err := inside(dir); err != nil {
		fmt.Fprintf(os.Stderr, "namespace: %v\n", err)
		return 1
	}
	return w.inner.Run()
}

// outside runs this binary again in new name spaces and returns its exit code.
func outside() (code int, err error) {
	dir, err := os.MkdirTemp("", "ovl-test-")
	if err != nil {
		return 1, fmt.Errorf("make the scratch mount point: %w", err)
	}
	// The tmpfs is mounted in the other name space only: here dir is empty.
	defer func() { err = errors.Join(err, os.Remove(dir)) }()
	return reexec(dir)
}
