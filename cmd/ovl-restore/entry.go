// SPDX-License-Identifier: Apache-2.0

//go:build !gendocs

package main

import "os"

func main() {
	os.Exit(run())
}
