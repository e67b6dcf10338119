// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ovl-restore/ovl-restore/internal/journal"
	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

// StateName is the state's file in the store.
const StateName = "state.json"

// State is what is remembered from one run to the next.
type State struct {
	Image string    `json:"image"` // that the upper was fitted to, or recorded on
	Time  time.Time `json:"time"`  // by the device's clock
	// Confirmed: the image is known to be good, and backups of the change to it
	// may be pruned.
	Confirmed bool `json:"confirmed"`
	// Pending are the entries that have an image's version beside them, from the
	// overlay's root, as bytes.
	Pending [][]byte `json:"pending,omitempty"`
	// Steps are the changes of the image that led to this one, the first first.
	Steps []Step `json:"steps,omitempty"`
	// Trying is another image, while the upper is fitted to it. Where it is still
	// there, that was cut off.
	Trying string `json:"trying,omitempty"`
	// LastTx is the newest transaction that was made when this was written.
	LastTx string `json:"last_tx,omitempty"`
}

// readState reads the state; zero where there is none.
func readState(s *journal.Store) (State, error) {
	var st State
	data, err := s.ReadFile(StateName)
	if errors.Is(err, os.ErrNotExist) {
		return st, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &st)
	}
	if err != nil {
		name := filepath.Join(s.Path(), StateName)
		return st, fmt.Errorf("read the state %q (move it away to begin anew, as with no baseline): %w", name, err)
	}
	return st, nil
}

func writeState(s *journal.Store, st State) error {
	data, err := json.Marshal(st)
	if err != nil {
		return err
	}
	return s.WriteFile(StateName, append(data, '\n'))
}

// ImageName tells an image from all others; "" where nothing is known of it.
func ImageName(i overlay.Image) string {
	var words []string
	for _, f := range [][2]string{
		{"IMAGE_ID", i.ImageID},
		{"IMAGE_VERSION", i.ImageVersion},
		{"BUILD_ID", i.BuildID},
		{"VERSION_ID", i.VersionID},
		{"UUID", i.UUID},
	} {
		if f[1] != "" {
			words = append(words, f[0]+"="+f[1])
		}
	}
	return strings.Join(words, " ")
}

// maxImageName is how much of what a command prints is read, in bytes.
const maxImageName = 4096

// CommandImage names the image as a command prints it, without the space around
// it; "" for no command. The command is a path and its arguments; it has to
// succeed, and to print a name shorter than 4096 bytes.
func CommandImage(command []string) (string, error) {
	if len(command) == 0 {
		return "", nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	p, err := os.StartProcess(command[0], command, &os.ProcAttr{Files: []*os.File{nil, w, os.Stderr}})
	_ = w.Close()
	if err != nil {
		_ = r.Close()
		return "", fmt.Errorf("identify the image: %w", err)
	}
	out, readErr := io.ReadAll(io.LimitReader(r, maxImageName))
	_ = r.Close() // who has more to say is not waited for
	state, err := p.Wait()
	name := strings.TrimSpace(string(out))
	switch {
	case err != nil || readErr != nil:
		return "", fmt.Errorf("identify the image by %q: %w", command[0], errors.Join(err, readErr))
	case !state.Success() || name == "" || len(out) == maxImageName:
		return "", fmt.Errorf("identify the image: %q ended with %s and printed %.80q", command[0], state, name)
	}
	return name, nil
}

// Confirm says that the present image is known to be good. Backups of the change
// to it may be pruned from then on.
func Confirm(t *Target, open func(*overlay.Layer) (*journal.Store, error)) (err error) {
	image, err := t.image()
	if err != nil {
		return err
	}
	store, err := t.openStore(open)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	st, err := readState(store)
	if err != nil {
		return err
	}
	if st.Image != image {
		return &UnreconciledError{Was: st.Image, Is: image}
	}
	st.Confirmed = true
	return writeState(store, st)
}

// StillNeeded returns what says of a transaction whether a rollback to the image
// before would need it: until the present image is confirmed.
func StillNeeded(s *journal.Store) (func(*journal.Info) bool, error) {
	st, err := readState(s)
	return func(info *journal.Info) bool {
		return !st.Confirmed && info.Kind == journal.KindReconcile && info.To == st.Image
	}, err
}
