// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// Error is a fault of a configuration file.
type Error struct {
	File string
	Line int    // from 1
	Key  string // "" where it is not that of one key
	Err  error
}

func (e *Error) Error() string {
	key := ""
	if e.Key != "" {
		key = e.Key + ": "
	}
	return fmt.Sprintf("%s:%d: %s%v", e.File, e.Line, key, e.Err)
}

// Unwrap returns what is wrong.
func (e *Error) Unwrap() error { return e.Err }

// Keys say what each key of a table sets.
type Keys map[string]Setter

// Tables say which tables a file may have, by name; "" stands for the keys
// before the first. A function is called for each of its tables, [name] or
// [[name]], and returns what their keys set.
type Tables map[string]func() Keys

// Read reads a TOML file: data is what is in it, file its name for errors, which
// are of type *Error. A table or a key that is not known, or that is there
// twice, is one.
//
// Only the parser of the TOML module is used: its decoder works by reflection,
// and does not say the line of a value that it cannot use.
func Read(file string, data []byte, tables Tables) error {
	r := reader{file: file, tables: tables, seen: make(map[string]unstable.Kind)}
	r.parser.Reset(data)
	r.begin("")
	for r.parser.NextExpression() {
		if err := r.expression(r.parser.Expression()); err != nil {
			return err
		}
	}
	err := r.parser.Error()
	if syntax := (*unstable.ParserError)(nil); errors.As(err, &syntax) {
		return r.fail(r.parser.Range(syntax.Highlight), "", errors.New(syntax.Message))
	}
	return err
}

type reader struct {
	file   string
	parser unstable.Parser
	tables Tables
	seen   map[string]unstable.Kind // tables

	table string
	keys  Keys // of the present table
	set   map[string]bool
}

func (r *reader) fail(at unstable.Range, key string, err error) error {
	return &Error{File: r.file, Line: r.parser.Shape(at).Start.Line, Key: key, Err: err}
}

// begin turns to a table; false where it is not known.
func (r *reader) begin(name string) bool {
	r.table, r.keys, r.set = name, nil, make(map[string]bool)
	open, known := r.tables[name]
	if known {
		r.keys = open()
	}
	return known
}

func (r *reader) expression(n *unstable.Node) error {
	name, at := dotted(n.Key())
	if n.Kind != unstable.KeyValue {
		kind, again := r.seen[name]
		if again && (kind != unstable.ArrayTable || n.Kind != unstable.ArrayTable) {
			return r.fail(at, "", fmt.Errorf("the table %q is here twice", name))
		}
		r.seen[name] = n.Kind
		if !r.begin(name) {
			return r.fail(at, "", fmt.Errorf("there is no table %q", name))
		}
		return nil
	}
	key := name
	if r.table != "" {
		key = r.table + "." + name
	}
	set, known := r.keys[name]
	switch {
	case !known:
		return r.fail(at, key, errors.New("there is no such key"))
	case r.set[name]:
		return r.fail(at, key, errors.New("it is here twice"))
	}
	r.set[name] = true
	v, err := value(n.Value())
	if err == nil {
		err = set(v)
	}
	if err != nil {
		return r.fail(at, key, err)
	}
	return nil
}

func dotted(keys unstable.Iterator) (name string, at unstable.Range) {
	var parts []string
	for keys.Next() {
		if parts == nil {
			at = keys.Node().Raw
		}
		parts = append(parts, string(keys.Node().Data))
	}
	return strings.Join(parts, "."), at
}

// Value is what a key is given: a string, a bool, an int64, or a []Value.
type Value any

func value(n *unstable.Node) (Value, error) {
	switch n.Kind {
	case unstable.String:
		return string(n.Data), nil
	case unstable.Bool:
		return n.Data[0] == 't', nil
	case unstable.Integer:
		i, err := strconv.ParseInt(string(n.Data), 0, 64)
		if err != nil {
			return nil, fmt.Errorf("%s is no number of 64 bits", n.Data)
		}
		return i, nil
	case unstable.Array:
		list := []Value{}
		for each := n.Children(); each.Next(); {
			v, err := value(each.Node())
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	default:
		return nil, errors.New("no key takes a value of this kind")
	}
}
