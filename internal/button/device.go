// SPDX-License-Identifier: Apache-2.0

package button

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// event is struct input_event. Its time is of two words of the machine, also
// where time_t has become longer than that.
type event struct {
	at    time.Duration // of CLOCK_MONOTONIC
	typ   uint16
	code  uint16
	value int32
}

// word is the size of a kernel's long, as this process sees it.
const word = int(unsafe.Sizeof(uintptr(0)))

// eventSize is the size of a struct input_event for words of that size.
func eventSize(word int) int { return 2*word + 8 }

// decodeEvent reads an event where words have that size.
func decodeEvent(b []byte, word int) event {
	number := func(b []byte) int64 {
		if word == 4 {
			return int64(binary.NativeEndian.Uint32(b))
		}
		return int64(binary.NativeEndian.Uint64(b))
	}
	rest := b[2*word:]
	return event{
		at:    time.Duration(number(b))*time.Second + time.Duration(number(b[word:]))*time.Microsecond,
		typ:   binary.NativeEndian.Uint16(rest),
		code:  binary.NativeEndian.Uint16(rest[2:]),
		value: int32(binary.NativeEndian.Uint32(rest[4:])),
	}
}

// Types, codes and values of events.
const (
	evSyn      = 0
	evKey      = 1
	synDropped = 3
	released   = 0
	pressed    = 1
)

// eviocgbit, eviocgkey and eviocsclockid are of linux/input.h.
func eviocgbit(typ, size int) uintptr {
	return iocRead | uintptr(size)<<16 | 'E'<<8 | uintptr(0x20+typ)
}
func eviocgkey(size int) uintptr { return iocRead | uintptr(size)<<16 | 'E'<<8 | 0x18 }

const eviocsclockid = iocWrite | 4<<16 | 'E'<<8 | 0xa0

type keyBits [(maxKey + 1) / 8]byte

// has asks for a bit of what the kernel filled as an array of longs.
func (b *keyBits) has(k Key) bool {
	i := int(k) / 8
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 { // big endian: bytes of a long from behind
		i ^= word - 1
	}
	return b[i]&(1<<(k%8)) != 0
}

// device is an input device that has the key.
type device struct {
	path string
	fd   int
}

// openDevice opens an input device; nil where it is none that has the key.
func openDevice(path string, key Key) (*device, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open the input device %q: %w", path, err)
	}
	var bits keyBits
	_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(fd), eviocgbit(evKey, len(bits)), uintptr(unsafe.Pointer(&bits)))
	if !bits.has(key) { // or it is no input device: then no bit was set
		return nil, unix.Close(fd)
	}
	clock := int32(unix.CLOCK_MONOTONIC)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), eviocsclockid, uintptr(unsafe.Pointer(&clock))); errno != 0 {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("set the clock of the input device %q: %w", path, errno)
	}
	return &device{path: path, fd: fd}, nil
}

// down asks the kernel whether the key is down.
func (d *device) down(key Key) bool {
	var bits keyBits
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(d.fd), eviocgkey(len(bits)), uintptr(unsafe.Pointer(&bits)))
	return errno == 0 && bits.has(key)
}

// read reads the events that are there. The error is ENODEV when the device is
// gone.
func (d *device) read(buf []byte) ([]event, error) {
	var events []event
	for {
		n, err := unix.Read(d.fd, buf)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return events, nil
		case err != nil:
			return events, err
		case n == 0:
			return events, unix.ENODEV
		}
		size := eventSize(word)
		for at := 0; at+size <= n; at += size {
			events = append(events, decodeEvent(buf[at:at+size], word))
		}
	}
}

// Devices are patterns for the paths of input devices.
type Devices []string

// paths lists what there is at the moment.
func (d Devices) paths() []string {
	var all []string
	for _, pattern := range d {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 && !strings.ContainsAny(pattern, "*?[") {
			continue
		}
		for _, path := range found {
			if !slices.Contains(all, path) {
				all = append(all, path)
			}
		}
	}
	return all
}
