// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"os"
	"strings"
)

// Privileged reports whether this process is root in the initial user name
// space: only then do trusted.* extended attributes work.
func Privileged() bool {
	if os.Geteuid() != 0 {
		return false
	}
	m, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false
	}
	// The initial name space maps every id onto itself; any other maps fewer.
	return strings.Join(strings.Fields(string(m)), " ") == "0 0 4294967295"
}
