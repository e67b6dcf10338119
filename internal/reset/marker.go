// SPDX-License-Identifier: Apache-2.0

package reset

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Order is what a request asks for.
type Order struct {
	ID     string
	Time   time.Time
	By     string   // what asked for it: command, button, kernel command line
	Mounts []string // the overlays that are reset together
	Keep   []string // patterns
	Wipe   bool     // overwrite the old files before they are removed
	Stores string   // the directory that the stores are in; "" for beside each upper
}

// magic begins every request. The number is that of the format.
const magic = "ovl-restore reset 2 "

// maxMarker is more than any request has.
const maxMarker = 1 << 20

// newID is unique also where the clock is not: devices without a battery start
// each day in 1970.
func newID() string { return strconv.FormatUint(rand.Uint64(), 36) }

// encode writes a line with the checksum of the rest, and a line for each field.
// Names are quoted: they are bytes.
func (o *Order) encode() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "id %s\ntime %s\nby %q\n", o.ID, o.Time.UTC().Format(time.RFC3339), o.By)
	if o.Wipe {
		b.WriteString("wipe\n")
	}
	if o.Stores != "" {
		fmt.Fprintf(&b, "stores %q\n", o.Stores)
	}
	for _, m := range o.Mounts {
		fmt.Fprintf(&b, "overlay %q\n", m)
	}
	for _, k := range o.Keep {
		fmt.Fprintf(&b, "keep %q\n", k)
	}
	return []byte(magic + checksum(b.String()) + "\n" + b.String())
}

// checksum tells what is damaged; against people there is the owner of the file.
func checksum(body string) string {
	h := fnv.New64a()
	_, _ = io.WriteString(h, body) // a hash takes everything
	return strconv.FormatUint(h.Sum64(), 16)
}

func decode(data []byte) (*Order, error) {
	head, body, _ := strings.Cut(string(data), "\n")
	sum, ok := strings.CutPrefix(head, magic)
	if !ok {
		return nil, errors.New("it is not in the format of this program")
	}
	if sum != checksum(body) {
		return nil, errors.New("its checksum is wrong: it is cut short or damaged")
	}
	o := &Order{}
	for line := range strings.Lines(body) {
		if err := o.field(strings.TrimSuffix(line, "\n")); err != nil {
			return nil, fmt.Errorf("the line %q: %w", strings.TrimSpace(line), err)
		}
	}
	if o.ID == "" || len(o.Mounts) == 0 {
		return nil, errors.New("it names no overlay")
	}
	return o, nil
}

func (o *Order) field(line string) (err error) {
	key, value, _ := strings.Cut(line, " ")
	switch key {
	case "id":
		o.ID = value
		if value == "" || strings.ContainsAny(value, "/.") {
			err = errors.New("no id")
		}
		return err
	case "time":
		o.Time, err = time.Parse(time.RFC3339, value)
		return err
	case "wipe":
		o.Wipe = true
		return nil
	}
	text, err := strconv.Unquote(value)
	switch key {
	case "by":
		o.By = text
	case "overlay":
		o.Mounts = append(o.Mounts, text)
	case "stores":
		o.Stores = text
	case "keep":
		o.Keep = append(o.Keep, text)
	default:
		err = errors.New("unknown field")
	}
	return err
}

// readOrder reads a request of the place: nil where there is none. What is there
// and is none is a ForeignError.
func (p *Place) readOrder(name string) (*Order, error) {
	f, err := openAt(int(p.dir.Fd()), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, nil
	case errors.Is(err, unix.ELOOP):
		return nil, &ForeignError{Path: p.path(name), Reason: "it is a symbolic link"}
	case err != nil:
		return nil, err
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, &ForeignError{Path: p.path(name), Reason: "it is not a regular file"})
	}
	if reason, err := foreign(f); err != nil || reason != "" {
		return nil, errors.Join(err, &ForeignError{Path: p.path(name), Reason: reason})
	}
	data, err := io.ReadAll(io.LimitReader(f, maxMarker))
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", p.path(name), err)
	}
	order, err := decode(data)
	if err != nil {
		return nil, &ForeignError{Path: p.path(name), Reason: err.Error()}
	}
	return order, nil
}

// standing is a request that was found.
type standing struct {
	*Order
	at      *Place // where it lies
	decided bool
	members []*Place
}

// find looks for requests in all places. ignored are things that lie where a
// request would, and are none.
func find(places []*Place) (found []*standing, ignored []error, err error) {
	for _, p := range places {
		if p.refuse != nil {
			ignored = append(ignored, p.refuse)
		}
		if p.dir == nil {
			continue
		}
		for _, name := range []string{fileDecided, fileRequest} {
			order, err := p.readOrder(name)
			switch {
			case errors.As(err, new(*ForeignError)):
				ignored = append(ignored, err)
			case err != nil:
				return nil, ignored, err
			case order != nil:
				s := &standing{Order: order, at: p, decided: name == fileDecided}
				if err := s.muster(places); err != nil {
					return nil, ignored, err
				}
				found = append(found, s)
			}
		}
	}
	return found, ignored, nil
}

// muster finds the places that take part in a request.
func (s *standing) muster(places []*Place) error {
	for _, p := range places {
		if p.dir == nil {
			continue
		}
		is, err := exists(int(p.dir.Fd()), memberPrefix+s.ID)
		if err != nil {
			return err
		}
		if is {
			s.members = append(s.members, p)
		}
	}
	return nil
}

// complete makes sure that all overlays of the request are here.
func (s *standing) complete() error {
	if len(s.members) == len(s.Mounts) {
		return nil
	}
	e := &IncompleteError{Want: s.Mounts}
	for _, p := range s.members {
		e.Have = append(e.Have, p.Mount)
	}
	return e
}

// IncompleteError says that a request is for more overlays than were given.
type IncompleteError struct{ Want, Have []string }

func (e *IncompleteError) Error() string {
	return fmt.Sprintf("the request is for the overlays on %s together, and of these only %d of %d can be reached here: nothing was done",
		strings.Join(e.Want, ", "), len(e.Have), len(e.Want))
}
