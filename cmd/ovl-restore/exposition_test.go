// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdMetrics asserts that the last standard output is in the text format that
// Prometheus' textfile collector reads.
func cmdMetrics(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: metrics")
	}
	ts.Check(checkExposition(ts.ReadFile("stdout")))
}

var (
	metricName = `[a-zA-Z_:][a-zA-Z0-9_:]*`
	helpLine   = regexp.MustCompile(`^# HELP (` + metricName + `) (?:[^\\\n]|\\\\|\\n)+$`)
	typeLine   = regexp.MustCompile(`^# TYPE (` + metricName + `) (counter|gauge|histogram|summary|untyped)$`)
	labelPair  = `[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\\\|\\"|\\n)*"`
	sampleLine = regexp.MustCompile(`^(` + metricName + `)(\{` + labelPair + `(?:,` + labelPair + `)*\})? -?[0-9.e+]+$`)
)

// checkExposition knows the rules of the text format 0.0.4: a family's samples
// stand together, after one HELP and one TYPE; no sample is there twice; all of
// it is UTF-8, and ends with a newline.
func checkExposition(text string) error {
	if !utf8.ValidString(text) || text != "" && !strings.HasSuffix(text, "\n") {
		return fmt.Errorf("not UTF-8, or the last line is cut off: %q", text)
	}
	helped, typed, sampled := map[string]bool{}, map[string]bool{}, map[string]bool{}
	family := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "# HELP "):
			m := helpLine.FindStringSubmatch(line)
			if len(m) < 2 || helped[m[1]] {
				return fmt.Errorf("bad or second HELP: %q", line)
			}
			family = m[1]
			helped[family] = true
		case strings.HasPrefix(line, "# TYPE "):
			m := typeLine.FindStringSubmatch(line)
			if len(m) < 2 || m[1] != family || typed[family] {
				return fmt.Errorf("bad, second or lost TYPE: %q", line)
			}
			typed[family] = true
		default:
			m := sampleLine.FindStringSubmatch(line)
			if len(m) < 2 || m[1] != family || !typed[family] {
				return fmt.Errorf("bad or lost sample: %q", line)
			}
			if id := m[1] + m[2]; sampled[id] {
				return fmt.Errorf("the same sample twice: %q", line)
			}
			sampled[m[1]+m[2]] = true
		}
	}
	return nil
}

func TestExpositionIsChecked(t *testing.T) {
	const ok = "# HELP a b\n# TYPE a gauge\na{l=\"x\"} 1\n"
	if err := checkExposition(ok); err != nil {
		t.Errorf("%q: %v", ok, err)
	}
	for _, bad := range []string{
		strings.TrimSuffix(ok, "\n"),
		"a 1\n",
		ok + ok,
		ok + "a{l=\"x\"} 2\n",
		"# HELP a b\n# TYPE a gauge\na{l=\"\\x\"} 1\n",
		"# HELP a b\n# TYPE a gauge\nb 1\n",
		"# HELP a b\n# TYPE a gauge\na{l=\"\xff\"} 1\n",
	} {
		if checkExposition(bad) == nil {
			t.Errorf("%q is taken for right", bad)
		}
	}
}

func TestLabelsAreEscaped(t *testing.T) {
	for value, want := range map[string]string{
		"/etc":           "/etc",
		"a\\b\"c\nd":     `a\\b\"c\nd`,
		"bad\xffbyte":    `bad\\xffbyte`,
		"\ufffd and ü":   "\ufffd and ü",
		"tab\tand blank": "tab\tand blank",
	} {
		if got := escapeLabel(value); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
}
