// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/test/namespace"
)

func TestMain(m *testing.M) {
	// Tests that need another process run this binary again, as an actor.
	if role := os.Getenv(actorRole); role != "" {
		if err := act(role, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	unix.Umask(0o022)
	namespace.Main(m)
}
