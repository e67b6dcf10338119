// SPDX-License-Identifier: Apache-2.0

// Package kernel holds the tests of what the kernel patches do, as a process
// in the guest sees it. They run on the stock module too: there each test
// asserts that the ioctls are not known, and nothing else.
package kernel
