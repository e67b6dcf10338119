// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"strings"
	"testing"
)

func TestCommandImage(t *testing.T) {
	for _, test := range []struct {
		script, name, err string
	}{
		{script: "echo '  v1 of the image '", name: "v1 of the image"},
		{script: "echo v1; exit 3", err: "exit status 3"},
		{script: "exit 0", err: `printed ""`},
		{script: "kill $$", err: "signal: terminated"},
		{script: "exec head -c 1000000 /dev/zero", err: "signal: broken pipe"},
		{script: "exec head -c 5000 /dev/zero", err: "printed"},
	} {
		name, err := CommandImage([]string{"/bin/sh", "-c", test.script})
		if name != test.name || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: %q, %v", test.script, name, err)
		}
	}
	if _, err := CommandImage([]string{"/no/such/program"}); err == nil {
		t.Error("a program that is not there printed a name")
	}
	if name, err := CommandImage(nil); name != "" || err != nil {
		t.Errorf("without a command: %q, %v", name, err)
	}
}
