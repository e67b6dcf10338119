// SPDX-License-Identifier: Apache-2.0

// Package button watches a key of the kernel's input devices (evdev) and tells
// when it was held for some time: the reset button of a device.
//
// A press counts from the kernel's time stamp, and only while the same device
// says that the key is down: a press and a release that are read late, because
// the machine was busy, are not taken for one that lasts. What the kernel
// repeats while a key is down changes nothing.
package button
