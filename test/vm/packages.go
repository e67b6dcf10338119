// SPDX-License-Identifier: Apache-2.0

package vm

// Packages returns the packages whose tests run in the guests of a variant, built
// with the tag vmguest. A package that tests what a kernel does belongs here; one
// that never asks for the ioctls need not run on both variants of a kernel.
func Packages(v Variant) []string {
	packages := []string{
		"./test/vm/smoke",
		"./test/namespace",
		"./test/kernel",
		"./internal/ioctl",
		"./internal/overlay",
		"./internal/reconcile",
		"./cmd/ovl-restore",
	}
	if v == Stock {
		packages = append(packages, "./internal/journal", "./internal/reset")
	}
	return packages
}

// Series are the kernels that the tests run on.
var Series = []string{"6.1", "6.12"}

// Variants returns what there is to test of a series: a patched kernel only
// where the repository has patches for it.
func Variants(root, series string) []Variant {
	variants := []Variant{Stock}
	if _, found := Patches(root, series); found {
		variants = append(variants, Patched)
	}
	return variants
}
