// SPDX-License-Identifier: Apache-2.0

// Package failing holds tests that end in every way that tests can end, for
// the harness to see. They run in guests that expect it, and nowhere else.
package failing
