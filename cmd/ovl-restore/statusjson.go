// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"time"

	"github.com/ovl-restore/ovl-restore/internal/overlay"
	"github.com/ovl-restore/ovl-restore/internal/reset"
)

// jsonStatus is an object of status: one overlay. What is not known is missing.
type jsonStatus struct {
	jsonPath             // the mount point
	Others   []jsonPath  `json:"others,omitempty"`  // where else it is mounted
	Runtime  string      `json:"runtime,omitempty"` // the container runtime that it is of
	ReadOnly bool        `json:"read_only"`
	Upper    *jsonLayer  `json:"upper,omitempty"`
	Work     *jsonLayer  `json:"work,omitempty"`
	Lowers   []jsonLayer `json:"lowers,omitempty"`    // topmost first
	DataOnly []jsonPath  `json:"data_only,omitempty"` // as the mount options name them
	Options  jsonOptions `json:"options"`
	// Method is ioctl, remount or none.
	Method     string      `json:"method"`
	Generation int         `json:"generation,omitempty"` // of the ioctl's interface
	Image      *jsonImage  `json:"image,omitempty"`
	Deviations *jsonCounts `json:"deviations,omitempty"`
	Bytes      *jsonBytes  `json:"bytes,omitempty"`
	Store      *jsonStore  `json:"store,omitempty"` // missing where nothing was ever kept
	// Reconcile is missing where there was no run, and nothing is queued.
	Reconcile *jsonRecon   `json:"reconcile,omitempty"`
	Reset     *jsonReset   `json:"reset,omitempty"` // missing where none is requested, or being cleaned up after
	Errors    []*jsonError `json:"errors,omitempty"`
}

// jsonLayer is one layer: its path is where it was found.
type jsonLayer struct {
	jsonPath
	Option string `json:"option"` // as the mount options name it
	How    string `json:"how"`    // how it was found
	Sure   string `json:"sure"`   // named or matched
	FSType string `json:"fs_type,omitempty"`
	Source string `json:"source,omitempty"`
	Size   int64  `json:"size"`
	Free   int64  `json:"free"`
}

type jsonOptions struct {
	RedirectDir string `json:"redirect_dir"` // on, follow or nofollow
	Index       bool   `json:"index"`
	Metacopy    bool   `json:"metacopy"`
	NFSExport   bool   `json:"nfs_export"`
	UserXattr   bool   `json:"userxattr"`
	Volatile    bool   `json:"volatile"`
}

// jsonImage has the names of os-release, or the file system's UUID.
type jsonImage struct {
	ImageID      string `json:"image_id,omitempty"`
	ImageVersion string `json:"image_version,omitempty"`
	BuildID      string `json:"build_id,omitempty"`
	VersionID    string `json:"version_id,omitempty"`
	UUID         string `json:"uuid,omitempty"`
}

// jsonCounts has the names of the kinds.
type jsonCounts struct {
	Added      int64 `json:"added"`
	Modified   int64 `json:"modified"`
	Metadata   int64 `json:"metadata"`
	Deleted    int64 `json:"deleted"`
	Opaque     int64 `json:"opaque"`
	Redirected int64 `json:"redirected"`
	Type       int64 `json:"type"`
	Redundant  int64 `json:"redundant"`
	Orphan     int64 `json:"orphan"`
}

type jsonBytes struct {
	Upper     int64 `json:"upper"`
	Redundant int64 `json:"redundant"` // could be freed
	Backups   int64 `json:"backups"`   // could be freed
}

type jsonStore struct {
	jsonPath
	Transactions int        `json:"transactions"`
	Open         int        `json:"open"` // of these, not done
	Oldest       *time.Time `json:"oldest,omitempty"`
	Newest       *time.Time `json:"newest,omitempty"`
}

func newJSONStatus(s *overlayStatus) jsonStatus {
	o := s.Options
	j := jsonStatus{
		jsonPath: newJSONPath(s.Mount.Point), Runtime: s.Runtime, ReadOnly: s.Mount.ReadOnly,
		Upper: newJSONLayer(s.Upper), Work: newJSONLayer(s.Work),
		Options: jsonOptions{o.Redirect, o.Index, o.Metacopy, o.NFSExport, o.UserXattr, o.Volatile},
		Method:  string(s.Method.Method), Generation: s.Method.Generation,
	}
	for _, other := range s.others {
		j.Others = append(j.Others, newJSONPath(other))
	}
	for i := range s.Lowers {
		j.Lowers = append(j.Lowers, *newJSONLayer(&s.Lowers[i]))
	}
	for _, d := range s.Mount.Config.DataOnly {
		j.DataOnly = append(j.DataOnly, newJSONPath(d.Path))
	}
	if j.Method == "" {
		j.Method = "none"
	}
	if !s.Image.IsZero() {
		image := jsonImage(s.Image)
		j.Image = &image
	}
	if c := s.Counts; c != nil {
		j.Deviations = &jsonCounts{
			c[overlay.Added], c[overlay.Modified], c[overlay.Metadata], c[overlay.Deleted], c[overlay.Opaque],
			c[overlay.Redirected], c[overlay.TypeChanged], c[overlay.Redundant], c[overlay.Orphan],
		}
	}
	if s.Bytes != nil {
		j.Bytes = &jsonBytes{Upper: s.Bytes.Upper, Redundant: s.Bytes.Redundant}
	}
	if s.store != nil {
		j.Store = &jsonStore{jsonPath: newJSONPath(s.store.Path), Transactions: s.store.Transactions, Open: s.store.Open}
		if !s.store.Oldest.IsZero() {
			j.Store.Oldest, j.Store.Newest = &s.store.Oldest, &s.store.Newest
		}
		if j.Bytes != nil {
			j.Bytes.Backups = s.store.Bytes
		}
	}
	if s.recon != nil {
		j.Reconcile = newJSONRecon(s)
	}
	if s.reset != nil && s.reset.State != reset.None {
		r := newJSONReset(s.reset)
		j.Reset = &r
	}
	for _, err := range s.failures() {
		j.Errors = append(j.Errors, newJSONError(err))
	}
	return j
}

func newJSONLayer(l *overlay.LayerStatus) *jsonLayer {
	if l == nil {
		return nil
	}
	return &jsonLayer{
		jsonPath: newJSONPath(l.Where), Option: l.Path, How: l.How, Sure: string(l.Sure),
		FSType: l.Type, Source: l.Source, Size: l.Size, Free: l.Free,
	}
}

// jsonRecon is what is known of reconciling.
type jsonRecon struct {
	Image       string     `json:"image,omitempty"` // that the upper was fitted to
	Time        *time.Time `json:"time,omitempty"`
	Confirmed   bool       `json:"confirmed"`
	Interrupted bool       `json:"interrupted"`
	Queued      int        `json:"queued"`            // requests
	Pending     []jsonPath `json:"pending,omitempty"` // with the image's version beside them, as NAME.ovl-new
}

func newJSONRecon(s *overlayStatus) *jsonRecon {
	r := s.recon
	j := &jsonRecon{Image: r.Image, Confirmed: r.Confirmed, Interrupted: r.Interrupted, Queued: r.Queued}
	if r.Image != "" {
		j.Time = &r.Time
	}
	for _, rel := range r.Pending {
		j.Pending = append(j.Pending, newJSONPath(strings.TrimSuffix(s.Mount.Point, "/")+"/"+rel))
	}
	return j
}
