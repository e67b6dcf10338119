// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	_ "embed" // for defaults
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/ovl-restore/ovl-restore/internal/config"
)

// Choice is what a rule says of an entry that the user and the image have
// changed.
type Choice string

// The choices.
const (
	ChooseKeep    Choice = "keep"      // the user's stays
	ChooseImage   Choice = "image"     // the image's shows, the user's is kept as a backup
	ChooseBoth    Choice = "keep-both" // the user's stays, and the image's is put beside it
	ChooseRestore Choice = "restore"   // as image, and what the user deleted comes back when the image updates it
)

// Rule is one rule of the policy.
type Rule struct {
	File   string   // where it stands
	Number int      // which [[rule]] of the file it is, from 1
	Paths  []string // globs of absolute paths
	Action Choice
	Reason string // for people
}

func (r *Rule) String() string {
	return fmt.Sprintf("%s, rule %d", r.File, r.Number)
}

// Matches says which of the rule's globs matches an absolute path.
func (r *Rule) Matches(path string) (glob string, ok bool) {
	for _, glob := range r.Paths {
		if doublestar.MatchUnvalidated(glob, path) { // LoadPolicy has validated it
			return glob, true
		}
	}
	return "", false
}

// Policy are the rules; the first that matches a path decides.
type Policy struct{ Rules []Rule }

// DefaultsName is the name of the policy file that is built in. A file of that
// name in a policy directory replaces it.
const DefaultsName = "90-defaults.toml"

//go:embed policy.d/90-defaults.toml
var defaults []byte

// policyDir is where policy files are, below the directories of the
// configuration.
const policyDir = "policy.d"

// LoadPolicy reads the policy files of the directories, in the order of their
// names. Errors in a file are of type *config.Error.
func LoadPolicy(dirs config.Dirs) (*Policy, error) {
	files, err := dirs.DropIns(policyDir, ".toml")
	if err != nil {
		return nil, err
	}
	p := &Policy{}
	replaced := false
	for _, dir := range dirs { // also by a mask
		if _, err := os.Lstat(filepath.Join(dir, policyDir, DefaultsName)); err == nil {
			replaced = true
		}
	}
	for _, file := range files {
		if !replaced && filepath.Base(file) > DefaultsName {
			replaced = true
			if err := p.read("built-in "+DefaultsName, defaults); err != nil {
				return nil, err
			}
		}
		data, err := config.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read the policy: %w", err)
		}
		if err := p.read(file, data); err != nil {
			return nil, err
		}
	}
	if !replaced {
		err = p.read("built-in "+DefaultsName, defaults)
	}
	return p, err
}

// read adds the rules of one file.
func (p *Policy) read(file string, data []byte) error {
	first, number := len(p.Rules), 0
	err := config.Read(file, data, config.Tables{
		"rule": func() config.Keys {
			number++
			p.Rules = append(p.Rules, Rule{File: file, Number: number})
			r := &p.Rules[len(p.Rules)-1]
			return config.Keys{
				"paths":  globs(&r.Paths),
				"action": config.OneOf((*string)(&r.Action), "keep", "image", "keep-both", "restore"),
				"reason": config.String(&r.Reason),
			}
		},
	})
	if err != nil {
		return err
	}
	for _, r := range p.Rules[first:] {
		for _, missing := range []struct {
			key string
			is  bool
		}{{"paths", len(r.Paths) == 0}, {"action", r.Action == ""}} {
			if missing.is {
				return &config.Error{File: file, Line: lineOfRule(data, r.Number), Key: "rule." + missing.key, Err: errors.New("it is missing")}
			}
		}
	}
	return nil
}

// lineOfRule finds where the n-th rule begins.
func lineOfRule(data []byte, n int) int {
	at := 0
	for line, text := range strings.Split(string(data), "\n") {
		at = line + 1
		if strings.HasPrefix(strings.TrimSpace(text), "[[") {
			if n--; n == 0 {
				break
			}
		}
	}
	return at
}

// globs sets a list of globs of absolute paths.
func globs(to *[]string) config.Setter {
	list := config.Strings(to)
	return func(v config.Value) error {
		if err := list(v); err != nil {
			return err
		}
		for _, glob := range *to {
			if !strings.HasPrefix(glob, "/") {
				return fmt.Errorf("the glob %q does not begin with a slash", glob)
			}
			if !doublestar.ValidatePattern(glob) {
				return fmt.Errorf("the glob %q is not valid", glob)
			}
		}
		if len(*to) == 0 {
			return errors.New("it takes at least one glob")
		}
		return nil
	}
}

// For finds the rule that decides for an absolute path; nil where none does,
// which keeps the user's.
func (p *Policy) For(path string) *Rule {
	for i := range p.Rules {
		if _, ok := p.Rules[i].Matches(path); ok {
			return &p.Rules[i]
		}
	}
	return nil
}

// Choice is what the policy says of a path.
func (p *Policy) Choice(path string) Choice {
	if r := p.For(path); r != nil {
		return r.Action
	}
	return ChooseKeep
}
