// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"math/rand/v2"
	"strconv"
)

// tempPrefix begins every name that this package makes for a moment. One that a
// power cut left behind is an empty file, or a whiteout over nothing: harmless.
const tempPrefix = ".ovl-restore-tmp."

// tempName is a name that nobody has. It need not be secret: it is used where a
// name that exists is refused.
func tempName() string { return tempPrefix + strconv.FormatUint(rand.Uint64(), 36) }
