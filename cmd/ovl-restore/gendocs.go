// SPDX-License-Identifier: Apache-2.0

//go:build gendocs

package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/ovl-restore/ovl-restore/man"
)

// main writes what is made from the commands, in place of being them. It runs on
// the machine that builds, whatever that builds for:
//
//	go run -tags gendocs ./cmd/ovl-restore DIR DATE
//
// DIR/man gets the manual's pages, DIR/completions the shells' completions.
func main() {
	if err := generate(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gendocs:", err)
		os.Exit(1)
	}
}

func generate(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("want DIR and DATE, not %q", args)
	}
	root := newRoot(newPrinter(os.Stdout, os.Stderr))
	edition := man.Edition{Version: version, Date: args[1]}
	if err := edition.Write(filepath.Join(args[0], "man"), root, exitHelp); err != nil {
		return err
	}
	dir := filepath.Join(args[0], "completions")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		f, err := os.Create(filepath.Join(dir, shell))
		if err != nil {
			return err
		}
		root.SetOut(f)
		root.SetArgs([]string{"completion", shell})
		if err := root.Execute(); err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}
