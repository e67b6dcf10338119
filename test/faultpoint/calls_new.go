// SPDX-License-Identifier: Apache-2.0

//go:build !amd64 && !386 && !arm

package faultpoint

// changingHere are the calls of older architectures.
var changingHere = map[uint64]struct {
	name string
	kind kind
}{}
