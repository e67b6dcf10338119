// SPDX-License-Identifier: Apache-2.0

package main

import (
	"unicode/utf8"

	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

// The schema of --json. Standard output is one object a line, in the order of
// the paths; nothing else is printed there, failures included. Fields may be
// added, and never change their meaning. An object without a path is about the
// whole command, which failed. The exit code is the same as without --json, and
// a command line that is not understood is told in words, as ever.
//
//	$ ovl-restore --json --discard /etc /etc/ssl/openssl.cnf /etc/motd
//	{"path":"/etc/ssl/openssl.cnf","status":"done","action":"discard","method":"ioctl","backup":"/data/etc.ovl-restore/tx/…/backup/1"}
//	{"path":"/etc/motd","status":"failed","error":{"errno":"EEXIST","message":"nothing to restore: …"}}

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

// jsonResult is what became of one path.
type jsonResult struct {
	jsonPath
	// Status is done (and verified), planned (by --test or --dry-run), kept (a
	// real upper entry, for lack of --discard), skipped (nothing hides it, and it
	// was not named by itself), busy (somebody holds the old entry open; the
	// upper is right) or failed. The last two come with an error.
	Status string `json:"status"`
	// Action is restore (a whiteout goes), discard (an upper entry goes, the
	// lower one shows), remove (an upper entry goes, and nothing lies below),
	// merge (an opaque directory shows the lower one too), refresh (only caches
	// were stale), keep, or none (another path's action did it). It is missing
	// where it did not come so far.
	Action string `json:"action,omitempty"`
	Method string `json:"method,omitempty"` // ioctl or remount
	// Backup is where the dropped upper entry is now.
	Backup  string           `json:"backup,omitempty"`
	Holders []overlay.Holder `json:"holders,omitempty"`
	Error   *jsonError       `json:"error,omitempty"`
}

// jsonError is one error, complete with every object.
type jsonError struct {
	Errno   string `json:"errno,omitempty"` // by name: EEXIST
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// jsonState is an object of --state; a path that fails is a jsonResult.
type jsonState struct {
	jsonPath
	State      string `json:"state"` // none, whiteout or upper
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
	e := explain(err)
	message := e.reason
	if e.detail != "" {
		message += "; " + e.detail
	}
	return &jsonError{Errno: e.errno, Message: message, Hint: e.hint}
}
