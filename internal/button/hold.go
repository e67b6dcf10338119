// SPDX-License-Identifier: Apache-2.0

package button

import "time"

// hold tells when a key was held for long enough, on any one device.
type hold struct {
	key   Key
	long  time.Duration
	since map[string]time.Duration // devices on which it is down, and since when
	fired map[string]bool          // and of these, where it was told
}

func newHold(key Key, long time.Duration) *hold {
	return &hold{key: key, long: long, since: map[string]time.Duration{}, fired: map[string]bool{}}
}

// event takes an event of a device into account. overrun says that the kernel
// has dropped some: then the device has to be asked.
func (h *hold) event(device string, e event) (overrun bool) {
	switch {
	case e.typ == evSyn && e.code == synDropped:
		return true
	case e.typ != evKey || Key(e.code) != h.key:
	case e.value == released:
		h.release(device)
	case e.value == pressed:
		h.press(device, e.at)
	} // else it is repeated
	return false
}

func (h *hold) press(device string, at time.Duration) {
	if _, down := h.since[device]; !down {
		h.since[device] = at
	}
}

// release forgets a press: the key was released, or the device is gone.
func (h *hold) release(device string) {
	delete(h.since, device)
	delete(h.fired, device)
}

// due says whether a press has lasted long enough, once for each.
func (h *hold) due(now time.Duration) bool {
	for device, at := range h.since {
		if now-at >= h.long && !h.fired[device] {
			h.fired[device] = true
			return true
		}
	}
	return false
}

// pressed says how long the key is down that will be due first; false where none is.
func (h *hold) pressed(now time.Duration) (held time.Duration, is bool) {
	for device, at := range h.since {
		if !h.fired[device] {
			held, is = max(held, now-at), true
		}
	}
	return held, is
}
