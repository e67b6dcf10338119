// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// newCompletion is cobra's own command for the shells that devices have; one
// that is not known is an error here, not a page of help.
func newCompletion() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print the completion script of a shell",
		Long: `Print the completion script of a shell. It completes flags, overlays, and the
names that whiteouts hide. To load it:

  bash  source <(ovl-restore completion bash)
  zsh   source <(ovl-restore completion zsh)
  fish  ovl-restore completion fish | source`,
		Args:      oneShell,
		ValidArgs: []string{"bash", "zsh", "fish"},
		RunE: func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			default:
				return root.GenFishCompletion(out, true)
			}
		},
	}
}

func oneShell(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return errors.New("which shell? give bash, zsh or fish")
	}
	if cobra.OnlyValidArgs(cmd, args) != nil {
		return fmt.Errorf("no completion for %q: there is bash, zsh and fish", args[0])
	}
	return nil
}

// newHelp is cobra's own command, but that an unknown name is an error: it may
// be meant as a path on an overlay that is called help.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Help about a command",
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return fmt.Errorf("no command %q", args[0])
			}
			about.InitDefaultHelpFlag()
			about.InitDefaultVersionFlag()
			return about.Help()
		},
	}
}
