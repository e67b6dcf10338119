// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/spf13/cobra"

	"github.com/ovl-restore/ovl-restore/internal/reconcile"
)

const manifestHelp = `Write the manifest of an image, where it is built: a record of each entry in its
tree. With it in the image, as /` + reconcile.ManifestPath + `,
ovl-restore reconcile knows all of the image that ran before, also what the user
changed after the last ovl-restore baseline.

The tree is read as a tar archive from standard input, sorted by name and without
hard links. So owners and devices are those that fakeroot or pseudo pretend, and
the options of tar say which extended attributes the image will have.

The image is known by the os-release in the tree. On a device where it is known by
another name, the manifest is not believed. Nothing may change in the tree after.

Exit status:
  0  written
  1  it failed, and what was written is of no use
  2  the command line was not understood`

const manifestExample = `  tar --create --directory ROOT --sort=name --numeric-owner --xattrs --xattrs-include='*' --hard-dereference . |
    ovl-restore manifest >manifest && mv manifest ROOT/` + reconcile.ManifestPath

func newManifest(out *printer) *cobra.Command {
	var image string
	cmd := &cobra.Command{
		Use:     "manifest [--image NAME]",
		Short:   "Write an image's record of itself, where it is built",
		Long:    manifestHelp,
		Example: manifestExample,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := reconcile.WriteManifest(out.stdout, cmd.InOrStdin(), image)
			return printed(out, err)
		},
	}
	cmd.Flags().StringVar(&image, "image", "", "the image's `NAME`, as the device's [image] command prints it")
	return cmd
}
