// SPDX-License-Identifier: Apache-2.0

package main

import (
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/ovl-restore/ovl-restore/internal/config"
	"github.com/ovl-restore/ovl-restore/internal/reconcile"
)

const policyHelp = `Show what the policy says of each PATH: what becomes of it when the user has
changed it and a new image has changed it, too, which rule decides, and why.

Rules are read from *.toml in /usr/lib/ovl-restore/policy.d and
/etc/ovl-restore/policy.d; a file of the latter replaces one of the same name.
All files together count in the order of their names, and the first rule that
matches decides. Rules for what every device has are built in, as
90-defaults.toml.

  [[rule]]
  paths = ["/etc/app/**", "/etc/app.conf"]
  action = "keep"
  reason = "set up on the device"

Actions:
  keep       the user's stays
  image      the image's shows; the user's is kept as a backup
  keep-both  the user's stays, and the image's is put beside it as NAME.ovl-new
  restore    as image, and what the user deleted comes back when it is updated`

// jsonPolicy is an object of policy: what decides for a path.
type jsonPolicy struct {
	jsonPath
	Action string `json:"action"`
	File   string `json:"file,omitempty"` // missing where no rule matches
	Rule   int    `json:"rule,omitempty"` // in the file, from 1
	Glob   string `json:"glob,omitempty"`
	Reason string `json:"reason,omitempty"`
}

func newPolicy(out *printer) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "policy [flags] PATH…",
		Short: "Show which rule decides when the user and a new image have changed a file",
		Long:  policyHelp,
		Args:  cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			out.json = asJSON
			return printed(out, runPolicy(out, args))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	return cmd
}

func runPolicy(out *printer, args []string) error {
	policy, err := reconcile.LoadPolicy(config.Default)
	if err != nil {
		return err
	}
	paths, err := absolute(args)
	if err != nil {
		return err
	}
	for _, path := range paths {
		path = filepath.Clean(path)
		j := jsonPolicy{jsonPath: newJSONPath(path), Action: string(policy.Choice(path))}
		text := "no rule matches"
		if r := policy.For(path); r != nil {
			j.File, j.Rule, j.Reason = r.File, r.Number, r.Reason
			j.Glob, _ = r.Matches(path)
			text = quotePath(r.String()) + ", " + j.Glob
			if r.Reason != "" {
				text += ": " + r.Reason
			}
		}
		if out.json {
			out.object(j)
			continue
		}
		out.line(quotePath(path) + ": " + j.Action + " (" + text + ")")
	}
	return nil
}
