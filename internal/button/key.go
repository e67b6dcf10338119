// SPDX-License-Identifier: Apache-2.0

package button

import (
	"fmt"
	"strconv"
)

// Key is a key's code, of linux/input-event-codes.h.
type Key uint16

// keys are the keys that buttons of devices bear; others are given by number.
var keys = map[string]Key{
	"KEY_RESTART": 0x198, "KEY_POWER": 116, "KEY_POWER2": 0x164, "KEY_SLEEP": 142, "KEY_WAKEUP": 143,
	"KEY_SETUP": 141, "KEY_CONFIG": 171, "KEY_PROG1": 148, "KEY_PROG2": 149, "KEY_VENDOR": 0x168,
	"KEY_WPS_BUTTON": 0x211, "KEY_HOMEPAGE": 172, "KEY_MENU": 139, "KEY_ENTER": 28, "KEY_ESC": 1,
	"BTN_0": 0x100, "BTN_1": 0x101, "BTN_2": 0x102, "BTN_3": 0x103,
}

// maxKey is KEY_MAX.
const maxKey = 0x2ff

// ParseKey reads a key's name, or its number.
func ParseKey(s string) (Key, error) {
	if k, ok := keys[s]; ok {
		return k, nil
	}
	n, err := strconv.ParseUint(s, 0, 16)
	if err != nil || n == 0 || n > maxKey {
		return 0, fmt.Errorf("%q is no key known by name: give its number, from linux/input-event-codes.h", s)
	}
	return Key(n), nil
}
