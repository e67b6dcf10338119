// SPDX-License-Identifier: Apache-2.0

package button

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Options say what to watch.
type Options struct {
	Devices Devices       // all that have the key, if empty
	Key     Key           //
	Hold    time.Duration // how long it has to be down
	LED     *LED          // blinks while it is, and is lit when that is enough; nil for none
	// Note, if not nil, is told what goes on.
	Note func(string)
}

// AllDevices are the input devices of a system with devtmpfs.
var AllDevices = Devices{"/dev/input/event*"}

// Watch returns nil when the key was held for long enough, or the context's
// error. Devices come and go meanwhile. A key that is down already has to be
// released first.
func Watch(ctx context.Context, opts Options) error {
	if len(opts.Devices) == 0 {
		opts.Devices = AllDevices
	}
	w := &watcher{Options: opts, hold: newHold(opts.Key, opts.Hold), open: map[string]*device{}, refused: map[string]bool{}}
	defer w.close()
	if err := w.listen(ctx); err != nil {
		return err
	}
	w.scan()
	if len(w.open) == 0 {
		w.note("no input device has the key yet: waiting for one")
	}
	for {
		ready, err := w.wait()
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		w.read(ready)
		now, err := monotonic()
		if err != nil {
			return err
		}
		if w.hold.due(now) {
			w.LED.set(true)
			return nil
		}
		w.blink(now)
	}
}

type watcher struct {
	Options
	hold    *hold
	open    map[string]*device
	refused map[string]bool // devices that lack the key
	notify  int             // inotify, for devices that come; -1 where there is none
	wake    int             // eventfd, for the context
	stop    func() bool
	polled  []unix.PollFd
	of      []*device // of polled, after the first two
	buf     [64 * 24]byte
}

// listen prepares to hear of new devices, and of the context's end.
func (w *watcher) listen(ctx context.Context) (err error) {
	w.notify = -1
	if w.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return fmt.Errorf("make an event descriptor: %w", err)
	}
	wake := w.wake
	w.stop = context.AfterFunc(ctx, func() { _, _ = unix.Write(wake, []byte{0, 0, 0, 0, 0, 0, 0, 1}) })
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil //nolint:nilerr // then it is looked for from time to time
	}
	heard := false
	for _, pattern := range w.Devices {
		// A device that udev has just made is not open to everybody yet: IN_ATTRIB.
		for dir := filepath.Dir(pattern); ; dir = filepath.Dir(dir) {
			if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_CREATE|unix.IN_ATTRIB|unix.IN_MOVED_TO); err == nil {
				heard = true
				break
			}
			if dir == "/" || dir == "." {
				break
			}
		}
	}
	if !heard {
		return unix.Close(fd)
	}
	w.notify = fd
	return nil
}

func (w *watcher) close() {
	if w.stop != nil && w.stop() { // else it may still write
		_ = unix.Close(w.wake)
	}
	if w.notify >= 0 {
		_ = unix.Close(w.notify)
	}
	for _, d := range w.open {
		_ = unix.Close(d.fd)
	}
}

func (w *watcher) note(s string) {
	if w.Note != nil {
		w.Note(s)
	}
}

// scan opens the devices that are new.
func (w *watcher) scan() {
	for _, path := range w.Devices.paths() {
		if w.open[path] != nil || w.refused[path] {
			continue
		}
		d, err := openDevice(path, w.Key)
		switch {
		case err != nil:
			if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.EACCES) {
				w.note(err.Error())
			}
		case d == nil:
			w.refused[path] = true
		default:
			w.open[path] = d
			w.note("watching " + path)
		}
	}
}

// Times between looks.
const (
	rescanEvery = 2 * time.Second        // without inotify
	blinkEvery  = 125 * time.Millisecond // half a period of the light
)

// wait waits for something to look at, and returns the devices that have events.
func (w *watcher) wait() (ready []*device, err error) {
	w.polled = append(w.polled[:0], unix.PollFd{Fd: int32(w.wake), Events: unix.POLLIN}, unix.PollFd{Fd: int32(w.notify), Events: unix.POLLIN})
	w.of = w.of[:0]
	for _, d := range w.open {
		w.polled = append(w.polled, unix.PollFd{Fd: int32(d.fd), Events: unix.POLLIN})
		w.of = append(w.of, d)
	}
	if _, err := unix.Poll(w.polled, w.timeout()); err != nil && !errors.Is(err, unix.EINTR) {
		return nil, fmt.Errorf("wait for input: %w", err)
	}
	if w.notify < 0 || w.polled[1].Revents != 0 {
		if w.notify >= 0 {
			for {
				if n, err := unix.Read(w.notify, w.buf[:]); n <= 0 || err != nil {
					break
				}
			}
		}
		clear(w.refused) // a name may be another device's by now
		w.scan()
	}
	for i, d := range w.of {
		if w.polled[i+2].Revents != 0 {
			ready = append(ready, d)
		}
	}
	return ready, nil
}

// timeout is how long poll may wait, in milliseconds.
func (w *watcher) timeout() int {
	now, err := monotonic()
	if err != nil {
		return 0
	}
	held, pressed := w.hold.pressed(now)
	switch {
	case pressed:
		return int(min(w.Hold-held, blinkEvery).Milliseconds()) + 1
	case w.notify < 0:
		return int(rescanEvery.Milliseconds())
	}
	return -1
}

func (w *watcher) read(ready []*device) {
	for _, d := range ready {
		events, err := d.read(w.buf[:64*eventSize(word)])
		overrun := false
		for _, e := range events {
			overrun = w.hold.event(d.path, e) || overrun
		}
		if overrun && !d.down(w.Key) {
			w.hold.release(d.path)
		}
		if err != nil { // ENODEV: it was unplugged
			w.note("no longer watching " + d.path)
			w.hold.release(d.path)
			_ = unix.Close(d.fd)
			delete(w.open, d.path)
		}
	}
}

// blink shows that a press is seen.
func (w *watcher) blink(now time.Duration) {
	held, pressed := w.hold.pressed(now)
	if !pressed {
		w.LED.restore()
		return
	}
	w.LED.set(held/blinkEvery%2 == 0)
}

// monotonic is the clock of the events.
func monotonic() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0, fmt.Errorf("read the clock: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}
