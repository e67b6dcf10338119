// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

const longHelp = `ovl-restore brings files of the image back that an overlay hides.

On a device with a read-only image (the lower) under an overlayfs, deleting a
file leaves a whiteout in the writable upper layer. The whiteout hides the
image's file for ever: also the newer one of the next image. ovl-restore removes
the whiteout on the running system and verifies that the image's file shows.

MNT is the overlay: its mount point, any path on it, or a bind of it.
PATH is what to bring back, as it would be named if it were there; a relative
PATH starts at the working directory. Symbolic links in its parents are followed,
its last component never is.

Where the kernel has the ioctl OVL_IOC_RESTORE_LOWER, that is used. Elsewhere the
whiteout is removed from the upper and the overlay's caches are flushed, once for
all paths. That needs root, and a way to the upper directory; see --upper.

Nothing real is dropped unless --discard is given, and then a backup is kept
beside the upper directory, in UPPER.ovl-restore/tx/.`

const example = `  # bring back one file
  ovl-restore /etc /etc/nginx/nginx.conf

  # everything that was deleted below a directory
  ovl-restore --recursive /usr /usr/share/doc

  # an old copy shadows the new image's file: drop it (a backup is kept)
  ovl-restore --discard /etc /etc/ssl/openssl.cnf

  # what a removed package took away, where the root is one overlay
  ovl-restore --package busybox /

  # ten thousand names from another program
  find-them -print0 | ovl-restore -0 --from-file - /usr`

const exitHelp = `Exit status:
  0  all done
  1  something failed; each failure is on its own line with the errno's name
  2  the command line was not understood

A mount point that bears a command's name is written with a slash: ./help`

// restoreFlags are the flags of the main command.
type restoreFlags struct {
	method    string
	test      bool
	state     bool
	dryRun    bool
	recursive bool
	discard   bool
	force     bool
	wait      bool
	fromFile  string
	nul       bool
	pkg       string
	upper     string
	json      bool
	quiet     bool
	verbose   bool

	spare func(rel string) bool // what is kept although discard is set
}

func newRoot(out *printer) *cobra.Command {
	var f restoreFlags
	cmd := &cobra.Command{
		Use:           "ovl-restore [flags] MNT PATH…",
		Short:         "Bring files of the image back that an overlay hides",
		Long:          longHelp,
		Example:       example,
		Version:       version,
		Args:          cobra.ArbitraryArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		ValidArgsFunction: func(_ *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
			return complete(args, toComplete, f.discard)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return printed(out, runRestore(cmd.Context(), out, f, args, cmd.InOrStdin()))
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.method, "method", string(overlay.MethodAuto), "how: auto, ioctl or remount; auto takes the ioctl where the kernel has it")
	flags.BoolVarP(&f.recursive, "recursive", "r", false, "restore every deviation below a directory; opaque directories merge again")
	flags.BoolVar(&f.discard, "discard", false, "also drop a real upper entry, after a backup, so that the image's shows")
	flags.BoolVarP(&f.dryRun, "dry-run", "n", false, "change nothing, say what would be done")
	flags.BoolVarP(&f.test, "test", "t", false, "only ask whether each path can be restored; change nothing")
	flags.BoolVar(&f.state, "state", false, "print what the upper holds: PATH<TAB>STATE<TAB>FLAGS<TAB>MODE; change nothing")
	flags.StringVar(&f.fromFile, "from-file", "", "read more paths from `FILE`, one a line; - for standard input")
	flags.BoolVarP(&f.nul, "null", "0", false, "names in FILE, and the lines of --state, end with NUL instead of newline")
	flags.StringVar(&f.pkg, "package", "", "restore the files of the dpkg or opkg package `NAME`")
	flags.StringVar(&f.upper, "upper", "", "the upper directory `DIR`, where the mount options do not lead to it")
	flags.BoolVar(&f.force, "force", false, "restore although the kernel may confuse the entry with another one")
	flags.BoolVar(&f.wait, "wait", false, "wait for another ovl-restore that is changing this overlay")
	flags.BoolVar(&f.json, "json", false, "print one JSON object a line")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "print failures only")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "say what is tried, and why it did not do")
	cmd.MarkFlagsMutuallyExclusive("test", "state", "dry-run")
	cmd.MarkFlagsMutuallyExclusive("quiet", "verbose")
	if err := cmd.RegisterFlagCompletionFunc("method", cobra.FixedCompletions(
		[]string{"auto", "ioctl", "remount"}, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag above has another name: no test would pass
	}
	cmd.AddCommand(newStatus(out), newDiff(out), newCheck(out), newLog(out), newUndo(out))
	cmd.AddCommand(newReconcile(out), newBaseline(out), newManifest(out), newQueue(out), newPolicy(out), newResolve(out))
	cmd.AddCommand(newReset(out), newButton(out))
	cmd.AddCommand(newCompletion())
	cmd.SetHelpCommand(newHelp())
	cmd.CompletionOptions.DisableDefaultCmd = true
	cmd.SetOut(out.stdout)
	cmd.SetErr(out.stderr)
	// No templates of our own: they would bring text/template into the binary.
	usage := cmd.UsageFunc()
	cmd.SetUsageFunc(func(c *cobra.Command) error {
		if err := usage(c); err != nil || c.HasParent() {
			return err
		}
		_, err := fmt.Fprintf(c.OutOrStderr(), "\n%s\n", exitHelp)
		return err
	})
	return cmd
}

// parseMethod checks the value of --method.
func (f restoreFlags) parseMethod() (overlay.Method, error) {
	switch m := overlay.Method(f.method); m {
	case overlay.MethodAuto, overlay.MethodIoctl, overlay.MethodRemount:
		return m, nil
	}
	return "", &usageError{fmt.Errorf("--method %q: want auto, ioctl or remount", f.method)}
}

// trace logs the library's events for --verbose.
func (f restoreFlags) trace(out *printer) func(overlay.Event) {
	if !f.verbose {
		return nil
	}
	log := logrus.New()
	log.SetOutput(out.debugWriter())
	log.SetLevel(logrus.DebugLevel)
	log.SetFormatter(&logrus.TextFormatter{DisableTimestamp: true, DisableColors: !out.colour})
	return func(e overlay.Event) {
		entry := log.WithField("path", e.Path)
		if e.Err != nil {
			entry = entry.WithError(e.Err)
		}
		entry.Debug(e.Op)
	}
}

var errNoMount = errors.New("which overlay? give MNT, and a PATH below it")
