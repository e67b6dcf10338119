// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Setter takes the value of one key. Its error says what is wrong with it.
type Setter func(Value) error

// String sets a string.
func String(to *string) Setter {
	return func(v Value) error {
		s, ok := v.(string)
		if !ok {
			return errors.New(`it takes a string: "…"`)
		}
		*to = s
		return nil
	}
}

// Strings sets a list of strings. One string stands for a list of it.
func Strings(to *[]string) Setter {
	return func(v Value) error {
		if s, ok := v.(string); ok {
			*to = []string{s}
			return nil
		}
		values, ok := v.([]Value)
		list := make([]string, len(values))
		for i := range values {
			var isString bool
			list[i], isString = values[i].(string)
			ok = ok && isString
		}
		if !ok {
			return errors.New(`it takes a list of strings: ["…", "…"]`)
		}
		*to = list
		return nil
	}
}

// Bool sets a bool.
func Bool(to *bool) Setter {
	return func(v Value) error {
		b, ok := v.(bool)
		if !ok {
			return errors.New("it takes true or false")
		}
		*to = b
		return nil
	}
}

// Int sets a number from 0 up.
func Int(to *int) Setter {
	return func(v Value) error {
		i, ok := v.(int64)
		if !ok || i < 0 || i > math.MaxInt32 {
			return errors.New("it takes a number from 0 up")
		}
		*to = int(i)
		return nil
	}
}

// OneOf sets a string that has to be one of the words.
func OneOf(to *string, words ...string) Setter {
	return func(v Value) error {
		for _, word := range words {
			if v == word {
				*to = word
				return nil
			}
		}
		return fmt.Errorf("it takes one of %q", words)
	}
}

// Duration sets a time: "90d", "12h", "5s", as time.ParseDuration has it, and
// days.
func Duration(to *time.Duration) Setter {
	return func(v Value) error {
		s, _ := v.(string)
		d, err := time.ParseDuration(s)
		if days, ok := strings.CutSuffix(s, "d"); ok {
			var n uint64
			n, err = strconv.ParseUint(days, 10, 16)
			d = time.Duration(n) * 24 * time.Hour
		}
		if err != nil || d < 0 {
			return errors.New(`it takes a time, such as "90d", "12h" or "5s"`)
		}
		*to = d
		return nil
	}
}

// Size sets a number of bytes: a number, or a string with one of the units K, M,
// G or T, of 1024 each: "64M".
func Size(to *int64) Setter {
	return func(v Value) error {
		n, ok := v.(int64)
		if s, isString := v.(string); isString && s != "" {
			shift := (strings.IndexByte("KMGT", s[len(s)-1]) + 1) * 10
			if shift > 0 {
				s = s[:len(s)-1]
			}
			u, err := strconv.ParseUint(s, 10, 63)
			ok = err == nil && u <= math.MaxInt64>>shift
			n = int64(u) << shift
		}
		if !ok || n < 0 {
			return errors.New(`it takes a number of bytes, such as 4096 or "64M"`)
		}
		*to = n
		return nil
	}
}
