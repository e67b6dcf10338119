// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"context"
	"hash/maphash"
	"sync"
)

// originSketch knows which lower entries the upper's entries come from, as far as
// that goes in a fixed amount of memory: it says no for certain, and yes by all
// likelihood. A directory that was renamed is known by its former path, too.
type originSketch struct {
	mu    sync.Mutex
	of    *Layer // the upper
	seed  maphash.Seed
	times []uint8 // by hash, how often: 2 for more
}

// sketchSize is a power of two. With a million origins, one answer in three is a
// yes that means nothing: it costs time.
const sketchSize = 1 << 21

// readSketch reads the upper, once for a call of Restore.
func (r *restorer) readSketch(ctx context.Context, layers *Layers) (*originSketch, error) {
	r.sketch = &originSketch{of: layers.upper, seed: maphash.MakeSeed(), times: make([]uint8, sketchSize)}
	return r.sketch, (&originScan{layers: layers, sketch: r.sketch}).run(ctx)
}

func (k *originSketch) at(key string) *uint8 {
	return &k.times[maphash.Bytes(k.seed, []byte(key))%sketchSize]
}

func (k *originSketch) add(key string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if times := k.at(key); *times < 2 {
		*times++
	}
}

// dirKey stands for a renamed directory's former path.
func dirKey(rel string) string { return "/" + rel }

// suspects says whether an upper entry elsewhere may come from the lower entry
// of a job, whose handle is given.
func (r *restorer) suspects(k *originSketch, j *job, handle string) bool {
	switch {
	case j.low.isDir:
		if *k.at(dirKey(j.rel)) > 0 {
			return true
		}
	case j.low.linked: // see want
		return false
	}
	times := *k.at(handle)
	if handle == "" || times == 0 {
		return false
	}
	if j.Action != ActDiscard || times > 1 {
		return true
	}
	// It may be the entry itself, which is about to be dropped.
	dir, err := r.openParent(j)
	if err != nil {
		return true
	}
	own, err := dir.layers.xattr(dir.upper, j.name, xattrOrigin)
	return err != nil || originKey(own) != handle
}
