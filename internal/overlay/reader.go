// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Attributes are what an entry is, but for a file's content.
type Attributes struct {
	Type     FileType // 0 where there is no entry
	Whiteout bool     // the upper's
	Opaque   bool     // a directory of the upper that hides the image's
	Metacopy bool     // a file of the upper that shows the image's content
	Stat     unix.Stat_t
	Target   string  // of a symbolic link
	Xattrs   []Xattr // by name, without the overlay's own
}

// Xattr is one extended attribute.
type Xattr struct{ Name, Value string }

// Reader reads the entries of one side of an overlay: of the upper, or of the
// image, which is what the lower layers show together. It keeps the directory
// that it read last open, for paths come in groups. It is for one goroutine;
// Close it after use.
type Reader struct {
	layers *Layers
	upper  bool
	rel    string   // of the directory that is open
	dir    *openDir // nil for none
	err    error    // why there is none
	low    *lowDir  // of the lower layer that has it; nil for none
}

// lowDir is an open directory of a lower layer.
type lowDir struct {
	layer int
	rel   string
	fd    int
}

// UpperReader reads the upper.
func (l *Layers) UpperReader() *Reader { return &Reader{layers: l, upper: true} }

// ImageReader reads the image.
func (l *Layers) ImageReader() *Reader {
	lower := *l
	lower.upper = nil
	return &Reader{layers: &lower}
}

// FormerImage reads another image than that of the lowers: what the directory sub
// of root shows, a clean relative path or ".". The merged directory, or the upper
// itself, is refused. CloseImage closes it.
func (l *Layers) FormerImage(root, sub string) (*Reader, error) {
	layer, err := openNamed(root)
	if err != nil {
		return nil, fmt.Errorf("open the former image: %w", err)
	}
	if sub != "." {
		fd, err := openBeneath(layer.fd(), sub, unix.O_PATH|unix.O_DIRECTORY)
		_ = layer.root.Close()
		if err != nil {
			return nil, fmt.Errorf("open %q in the former image: %w", sub, err)
		}
		layer.root = os.NewFile(uintptr(fd), sub)
	}
	if err := l.refuseMerged(layer); err != nil {
		_ = layer.root.Close()
		return nil, fmt.Errorf("the former image %q: %w", root, err)
	}
	former := *l
	former.upper, former.lowers, former.data = nil, []*Layer{layer}, nil
	return &Reader{layers: &former}, nil
}

// Image identifies the image that a Reader of FormerImage reads.
func (r *Reader) Image() Image { return identify(r.layers.lowers) }

// CloseImage closes a Reader of FormerImage.
func (r *Reader) CloseImage() error {
	r.Close()
	return r.layers.lowers[0].root.Close()
}

// Upper is the upper layer.
func (l *Layers) Upper() *Layer { return l.upper }

// OpenUpper opens a directory of the upper, for who changes an overlay that is
// not mounted.
func (l *Layers) OpenUpper(rel string) (*os.File, error) {
	fd, err := openBeneath(l.upper.fd(), rel, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, fmt.Errorf("open %q in the upper: %w", rel, err)
	}
	return os.NewFile(uintptr(fd), rel), nil
}

// OpenMerged opens a directory of the merged view, by its path from the overlay's
// root. It follows no symbolic link and enters nothing that is mounted there.
func (o *Overlay) OpenMerged(rel string) (*os.File, error) {
	below, ok := below(o.rootRel(), rel)
	if o.rootRel() == "." {
		below, ok = rel, true
	}
	if !ok {
		return nil, errNotHere
	}
	fd, err := openBeneath(o.fd(), below, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, fmt.Errorf("open %q: %w", rel, err)
	}
	return os.NewFile(uintptr(fd), rel), nil
}

// Close lets go of what is open.
func (r *Reader) Close() {
	if r.dir != nil {
		r.dir.close()
	}
	r.closeLow()
	r.rel, r.dir, r.err = "", nil, nil
}

func (r *Reader) closeLow() {
	if r.low != nil {
		closeFD(r.low.fd)
	}
	r.low = nil
}

// openLow opens a directory of a lower layer. It stays open until the next.
func (r *Reader) openLow(layer int, rel string) (fd int, err error) {
	if r.low != nil && r.low.layer == layer && r.low.rel == rel {
		return r.low.fd, nil
	}
	r.closeLow()
	if fd, err = openBeneath(r.layers.lowers[layer].fd(), rel, unix.O_RDONLY|unix.O_DIRECTORY); err == nil {
		r.low = &lowDir{layer, rel, fd}
	}
	return fd, err
}

// parent opens the directory that rel is in.
func (r *Reader) parent(rel string) (name string, err error) {
	parent, name := splitRel(rel)
	if r.rel == parent && (r.dir != nil || r.err != nil) {
		return name, r.err
	}
	r.Close()
	r.rel = parent
	if r.upper {
		var fd int
		if fd, r.err = openBeneath(r.layers.upper.fd(), parent, unix.O_RDONLY|unix.O_DIRECTORY); r.err == nil {
			r.dir = &openDir{Dir: Dir{Rel: parent, inUpper: true}, layers: r.layers, upper: fd}
		}
		return name, r.err
	}
	r.dir, r.err = r.layers.openAt(parent)
	return name, r.err
}

// Read reads the entry at rel, a path from the overlay's root other than ".". One
// that does not exist, or whose directory does not, has the type 0.
func (r *Reader) Read(rel string) (a Attributes, err error) {
	name, err := r.parent(rel)
	if isGone(err) {
		return a, nil
	}
	if err != nil {
		return a, err
	}
	dir := r.dir.upper
	if r.upper {
		e, found, err := r.dir.upperEntry(name)
		if err != nil || !found {
			return a, err
		}
		if err := a.mark(r.dir, name, e); err != nil {
			return a, err
		}
	} else {
		low, found, err := r.dir.lowerEntry(name)
		if err != nil || !found {
			return a, err
		}
		a.Stat = low.stat
		lowParent, lowName := splitRel(low.rel)
		if dir, err = r.openLow(low.layer, lowParent); err != nil {
			return a, err
		}
		name = lowName
	}
	a.Type = FileType(a.Stat.Mode & unix.S_IFMT)
	if a.Type == unix.S_IFLNK {
		if a.Target, err = os.Readlink(procPath(dir) + "/" + name); err != nil {
			return a, err
		}
	}
	if !a.Whiteout {
		a.Xattrs, err = r.layers.readXattrs(dir, name)
	}
	return a, err
}

// mark fills in what only the upper's entries have.
func (a *Attributes) mark(dir *openDir, name string, e entry) (err error) {
	a.Stat, a.Whiteout = e.stat, e.whiteout
	switch {
	case e.isDir():
		a.Opaque, err = dir.layers.isOpaque(dir.upper, name)
	case !e.whiteout && e.stat.Mode&unix.S_IFMT == unix.S_IFREG && dir.layers.metacopy:
		a.Metacopy, err = dir.layers.hasXattr(dir.upper, name, xattrMetacopy)
	}
	return err
}

// Open opens the content of a regular file. That of a metacopy in the upper is
// not there: the error is ESTALE for what is no file with content of its own.
func (r *Reader) Open(rel string) (*os.File, error) {
	name, err := r.parent(rel)
	if err != nil {
		return nil, err
	}
	var fd int
	if r.upper {
		fd, err = openFile(r.dir.upper, name)
	} else {
		fd, err = dataSearch{layers: r.layers}.openLower(r.dir.lowers, r.dir.lower, name)
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), rel), nil
}

// readXattrs reads all extended attributes of an entry but the overlay's own.
func (l *Layers) readXattrs(dirfd int, name string) ([]Xattr, error) {
	var buf, value []byte
	list, err := listXattrs(dirfd, append([]byte(name), 0)[:len(name)], &buf)
	if err != nil {
		return nil, err
	}
	path := procPath(dirfd) + "/" + name
	var all []Xattr
	for _, key := range (&openNode{comparer: &comparer{layers: l}}).userXattrs(list) {
		v, err := growing(&value, func(b []byte) (int, error) { return unix.Lgetxattr(path, key, b) })
		if errors.Is(err, unix.ENODATA) {
			continue // removed since
		}
		if err != nil {
			return nil, err
		}
		all = append(all, Xattr{strings.Clone(key), string(v)})
	}
	return all, nil
}
