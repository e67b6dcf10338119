// SPDX-License-Identifier: Apache-2.0

package reset

import "strings"

// InCommandLine says whether a kernel command line asks for a reset.
func InCommandLine(line string) bool {
	asked := false
	for _, word := range strings.Fields(line) {
		if word == "--" { // what follows is for init
			break
		}
		key, value, _ := strings.Cut(word, "=")
		if key == "ovl-restore.reset" || key == "systemd.factory_reset" {
			// The last one counts, as everywhere on the command line.
			switch strings.Trim(value, `"`) {
			case "1", "yes", "true", "on", "y", "t":
				asked = true
			default:
				asked = false
			}
		}
	}
	return asked
}
