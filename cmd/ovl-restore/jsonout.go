// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

// The schema of --json. Each line is one object; fields may be added, never
// change their meaning. The README documents it.

// jsonPath names a path. JSON is Unicode and a path is bytes: for one that is
// not UTF-8, path has replacement characters and path_bytes, in base64, is right.
type jsonPath struct {
	Path  string `json:"path,omitempty"`
	Bytes []byte `json:"path_bytes,omitempty"`
}

func newJSONPath(path string) jsonPath {
	p := jsonPath{Path: path}
	if !utf8.ValidString(path) {
		p.Bytes = []byte(path)
	}
	return p
}

// jsonResult is what became of one path, or, without a path, of the command.
type jsonResult struct {
	jsonPath
	Status  string           `json:"status"`
	Action  string           `json:"action,omitempty"`
	Method  string           `json:"method,omitempty"`
	Backup  string           `json:"backup,omitempty"`
	Holders []overlay.Holder `json:"holders,omitempty"`
	Error   *jsonError       `json:"error,omitempty"`
}

type jsonError struct {
	Errno   string `json:"errno,omitempty"` // by name: EEXIST
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// jsonState is a line of --state.
type jsonState struct {
	jsonPath
	State      string `json:"state"`
	Opaque     bool   `json:"opaque"`
	NoLowerDir bool   `json:"no_lower_dir"`
	Mode       string `json:"mode"` // octal, or "-"
}

func newJSONResult(r overlay.Result) jsonResult {
	out := jsonResult{
		jsonPath: newJSONPath(r.Path),
		Status:   string(r.Status),
		Action:   string(r.Action),
		Method:   string(r.Method),
		Backup:   r.Backup,
		Holders:  r.Holders,
	}
	if r.Err != nil {
		out.Error = newJSONError(r.Err)
	}
	return out
}

func newJSONError(err error) *jsonError {
	e := &jsonError{Message: err.Error(), Hint: hint(err)}
	var errno unix.Errno
	if errors.As(err, &errno) {
		e.Errno = unix.ErrnoName(errno)
	}
	return e
}
