// SPDX-License-Identifier: Apache-2.0

// Package reconcile fits the upper of an overlay to a new image. Each entry of
// the upper is seen in three versions: B, the baseline, is what the image had
// there when the user made the change; U is the upper's; N is what the new image
// has. Decide, a pure function of the three and of the policy, says what becomes
// of it. The rest of the package finds the versions, does what was decided in one
// transaction that can be undone, and remembers which image it was for.
package reconcile
