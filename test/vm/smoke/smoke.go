// SPDX-License-Identifier: Apache-2.0

// Package smoke holds the tests of what every other test in a guest relies on.
package smoke
