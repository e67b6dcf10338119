// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"sync/atomic"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/spf13/cobra"

	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

const diffHelp = `Show how an overlay differs from its image, one line a deviation: a letter, the
path, and details. The lines are sorted: the entries of a directory by name, each
directory before what is in it.

  A  added       the image has nothing under that name
  M  modified    other content, or another target or device number
  P  metadata    the same content with another mode, owner, time or xattr
  D  deleted     a whiteout over an entry of the image
  O  opaque      a directory that hides what the image has in it, and how much
  R  redirected  a directory of the image that was renamed, and from where;
                 what is in it is compared with what was renamed
  T  type        an entry of another type than the image's, and what it hides
  =  redundant   a copy that is equal to the image's entry
  W  orphan      a whiteout over nothing; shown only when --kind asks for it

A file's content is compared by size and modification time; those that only the
time tells apart say "times" and not "content". With --content files of one size
are read. Of directories, times are not compared. Where a file's content differs,
its extended attributes are compared only with --content.

The upper and the image are read, never the merged directory. On an overlay with
index=on, the other names of a hard link in the image that was changed through
one of its names are not shown. A path below a deleted directory shows the line
of that directory.

Without a mounted overlay, --upper and --lower name the layers; paths, on the
command line and in the output, start at their top.`

const diffExample = `  # what on this device is not the image?
  ovl-restore diff /etc

  # only what was deleted; bring all of it back
  ovl-restore diff --kind deleted --names -0 /etc | ovl-restore -0 --from-file - /etc

  # what was changed in a configuration file
  ovl-restore diff --text /etc /etc/ssh/sshd_config

  # a device's data partition, on the workbench
  ovl-restore diff --lower /mnt/image/etc --upper /mnt/data/overlay/etc`

const diffExit = `Exit status:
  0  compared
  1  something could not be read, or it was interrupted
  2  the command line was not understood
  3  with --exit-code: compared, and there are deviations`

// exitDiffers is the exit code of --exit-code.
const exitDiffers = 3

// exitError ends the program with a code of its own; there is nothing to print.
type exitError struct{ code int }

func (e *exitError) Error() string { return fmt.Sprintf("exit %d", e.code) }

// diffFlags are the flags of diff.
type diffFlags struct {
	content  bool
	summary  bool
	kinds    []string
	match    []string
	exclude  []string
	text     bool
	names    bool
	nul      bool
	json     bool
	exitCode bool
	lower    string
	upper    string
	userAttr bool
	quiet    bool
	verbose  bool
}

func newDiff(out *printer) *cobra.Command {
	var f diffFlags
	cmd := &cobra.Command{
		Use:     "diff [flags] MNT [PATH…]",
		Short:   "Show how an overlay differs from its image",
		Long:    diffHelp + "\n\n" + diffExit,
		Example: diffExample,
		ValidArgsFunction: func(_ *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
			return complete(args, toComplete, true)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return printed(out, runDiff(cmd.Context(), out, f, args))
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&f.content, "content", false, "compare the content of files, not only size and times")
	flags.StringSliceVarP(&f.kinds, "kind", "k", nil, "only these `KINDS`, by name or letter, separated by commas")
	flags.StringArrayVar(&f.match, "match", nil, "only paths that match `GLOB`: ** is any number of directories; one without a slash is a name anywhere")
	flags.StringArrayVar(&f.exclude, "exclude", nil, "no paths that match `GLOB`")
	flags.BoolVar(&f.summary, "summary", false, "print how many there are of each kind")
	flags.BoolVar(&f.text, "text", false, "print what was changed in one text file, PATH, as a unified diff")
	flags.BoolVar(&f.names, "names", false, "print the paths alone")
	flags.BoolVarP(&f.nul, "null", "0", false, "print names as they are, without details, and NUL after each")
	flags.BoolVar(&f.json, "json", false, "print one JSON object a line")
	flags.BoolVar(&f.exitCode, "exit-code", false, "exit with 3 if there are deviations")
	flags.StringVar(&f.lower, "lower", "", "compare with these lower `DIRS`, topmost first, separated by colons")
	flags.StringVar(&f.upper, "upper", "", "the upper directory `DIR`; with MNT, where the mount options do not lead to it")
	flags.BoolVar(&f.userAttr, "userxattr", false, "with --lower: the upper was mounted with userxattr")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "print failures only")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "say what is tried to reach the layers")
	cmd.MarkFlagsMutuallyExclusive("summary", "names", "text")
	cmd.MarkFlagsMutuallyExclusive("json", "null")
	cmd.MarkFlagsMutuallyExclusive("json", "names")
	cmd.MarkFlagsMutuallyExclusive("json", "text")
	return cmd
}

// compared is what there is to compare: a mounted overlay, or its layers alone.
type compared struct {
	mounted *overlay.Overlay
	layers  *overlay.Layers
}

func (c compared) close() error {
	if c.mounted != nil {
		return c.mounted.Close()
	}
	return c.layers.Close()
}

func runDiff(ctx context.Context, out *printer, f diffFlags, args []string) (err error) {
	out.configureDiff(f)
	opts, err := f.options()
	if err != nil {
		return err
	}
	c, args, err := f.open(out, args)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if f.text {
		return diffText(out, c, args)
	}
	if opts.Paths, err = c.rels(args); err != nil {
		return err
	}
	return compareAll(ctx, out, f, c, opts)
}

// options checks the flags.
func (f diffFlags) options() (overlay.DiffOptions, error) {
	opts := overlay.DiffOptions{
		Content: f.content,
		Kinds:   overlay.AllKinds &^ overlay.KindsOf(overlay.Orphan),
	}
	if len(f.kinds) > 0 {
		opts.Kinds = 0
	}
	for _, name := range f.kinds {
		kind, err := overlay.ParseKind(name)
		if err != nil {
			return opts, &usageError{fmt.Errorf("--kind: %w: there is %s", err, overlay.AllKinds)}
		}
		opts.Kinds |= overlay.KindsOf(kind)
	}
	for _, pattern := range append(append([]string(nil), f.match...), f.exclude...) {
		if !doublestar.ValidatePattern(pattern) {
			return opts, &usageError{fmt.Errorf("%q is no glob", pattern)}
		}
	}
	if len(f.match)+len(f.exclude) > 0 {
		opts.Match = func(rel string) bool {
			return (len(f.match) == 0 || matches(f.match, rel)) && !matches(f.exclude, rel)
		}
	}
	return opts, nil
}

// matches says whether one of the patterns matches the path.
func matches(patterns []string, rel string) bool {
	for _, pattern := range patterns {
		against := rel
		if !strings.Contains(pattern, "/") {
			against = path.Base(rel)
		}
		if doublestar.MatchUnvalidated(strings.TrimPrefix(pattern, "/"), against) {
			return true
		}
	}
	return false
}

var (
	errNoOverlay  = errors.New("which overlay? give MNT, or --lower and --upper")
	errNoUpperDir = errors.New("--lower needs --upper")
	errOneText    = errors.New("--text wants one PATH, of a regular file")
)

// open opens what is to be compared and returns the paths among the arguments.
func (f diffFlags) open(out *printer, args []string) (compared, []string, error) {
	switch {
	case f.lower != "" && f.upper == "":
		return compared{}, nil, &usageError{errNoUpperDir}
	case f.lower != "":
		lowers, _ := overlay.ParseLowers(f.lower)
		layers, err := overlay.OpenLayers(f.upper, lowers, overlay.LayerOptions{UserXattr: f.userAttr})
		return compared{layers: layers}, args, err
	case len(args) == 0:
		return compared{}, nil, &usageError{errNoOverlay}
	}
	trace := restoreFlags{verbose: f.verbose}.trace(out)
	o, err := openOverlay(args[0], overlay.Options{Upper: f.upper, Trace: trace})
	return compared{mounted: o}, args[1:], err
}

// rels says where the paths lie, from the top of the layers.
func (c compared) rels(paths []string) (rels []string, err error) {
	if c.mounted == nil {
		for _, p := range paths {
			rels = append(rels, relOffline(p))
		}
		return rels, nil
	}
	if len(paths) == 0 {
		return []string{c.mounted.RootRel()}, nil
	}
	if paths, err = absolute(paths); err != nil {
		return nil, err
	}
	for _, p := range paths {
		rel, err := c.mounted.Rel(p)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", quotePath(p), err)
		}
		rels = append(rels, rel)
	}
	return rels, nil
}

func relOffline(p string) string {
	if p = strings.TrimPrefix(path.Clean("/"+p), "/"); p != "" {
		return p
	}
	return "."
}

// name is how an entry is printed.
func (c compared) name(rel string) string {
	if c.mounted == nil {
		return rel
	}
	name, ok := c.mounted.PathOf(rel)
	if !ok { // a directory above the one that is bound here
		return "/" + rel
	}
	return name
}

func (c compared) diff(ctx context.Context, opts overlay.DiffOptions, report func(overlay.Deviation) error) error {
	if c.mounted != nil {
		return c.mounted.Diff(ctx, opts, report)
	}
	return c.layers.Diff(ctx, opts, report)
}

// compareAll compares and prints.
func compareAll(ctx context.Context, out *printer, f diffFlags, c compared, opts overlay.DiffOptions) error {
	failed := false
	opts.Failed = func(rel string, err error) {
		failed = true
		out.failure(c.name(rel), err)
	}
	opts.Looked = new(atomic.Int64)
	stop := out.watch(opts.Looked)
	sum := summary{compared: overlay.ComparedTimes}
	if f.content {
		sum.compared = overlay.ComparedContent
	}
	err := c.diff(ctx, opts, func(d overlay.Deviation) error {
		sum.add(d)
		if !f.summary {
			out.deviation(c.name(d.Path), d, f.names)
		}
		return nil
	})
	stop()
	if f.summary {
		out.summary(sum)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return errFoundSoFar
	case err != nil:
		return err
	case failed:
		return &failedError{}
	case f.exitCode && sum.differs():
		return &exitError{exitDiffers}
	}
	return nil
}

// summary counts deviations.
type summary struct {
	counts   map[overlay.Kind]int64
	hidden   int64
	compared overlay.Compared
}

func (s *summary) add(d overlay.Deviation) {
	if s.counts == nil {
		s.counts = map[overlay.Kind]int64{}
	}
	s.counts[d.Kind]++
	s.hidden += d.Hides
}

// differs says whether something was found that changes what is seen.
func (s *summary) differs() bool {
	for kind := range s.counts {
		if overlay.Differences.Has(kind) {
			return true
		}
	}
	return false
}

// diffText prints what was changed in one file.
func diffText(out *printer, c compared, paths []string) error {
	if len(paths) != 1 {
		return &usageError{errOneText}
	}
	rels, err := c.rels(paths)
	if err != nil {
		return err
	}
	var both overlay.Copies
	if c.mounted != nil {
		both, err = c.mounted.Copies(rels[0])
	} else {
		both, err = c.layers.Copies(rels[0])
	}
	name := c.name(rels[0])
	if err == nil && both.Image == nil && both.Merged == nil {
		err = errNoSuchFile
	}
	if err != nil {
		out.failure(name, err)
		return &failedError{}
	}
	out.unified(name, both.Image, both.Merged)
	return nil
}
