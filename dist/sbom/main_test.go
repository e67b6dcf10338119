// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const licences = `LIC_FILES_CHKSUM += " \
    file://pkg/mod/github.com/!sirupsen/logrus@v1.10.2/LICENSE;md5=8d;spdx=MIT \
    file://pkg/mod/example.org/mod/v4@v4.1.0/LICENSE.txt;md5=2a;spdx=Apache-2.0 \
"
`

func TestReadLicences(t *testing.T) {
	file := filepath.Join(t.TempDir(), "licences")
	if err := os.WriteFile(file, []byte(licences), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := readLicences(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got["github.com/Sirupsen/logrus@v1.10.2"] != "MIT" || got["example.org/mod/v4@v4.1.0"] != "Apache-2.0" {
		t.Errorf("got %v", got)
	}
}

// The test's own program is one that go has built from modules.
func TestSBOM(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "86400")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "licences")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var out, again bytes.Buffer
	if err := run([]string{exe, "1.2", file}, &out); err != nil {
		t.Fatal(err)
	}
	if err := run([]string{exe, "1.2", file}, &again); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), again.Bytes()) {
		t.Error("two runs print two documents")
	}
	var doc document
	if err := json.Unmarshal(out.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Creation.Created != "1970-01-02T00:00:00Z" {
		t.Errorf("created %s", doc.Creation.Created)
	}
	ids := []string{documentID}
	for _, p := range doc.Packages {
		if slices.Contains(ids, p.ID) {
			t.Errorf("%s twice", p.ID)
		}
		ids = append(ids, p.ID)
	}
	if len(doc.Relationships) != len(doc.Packages) {
		t.Errorf("%d relationships of %d packages", len(doc.Relationships), len(doc.Packages))
	}
	for _, r := range doc.Relationships {
		if !slices.Contains(ids, r.Element) || !slices.Contains(ids, r.Related) {
			t.Errorf("a relationship of what is not there: %+v", r)
		}
	}
	if p := doc.Packages[0]; p.Version != "1.2" || len(p.Checksums) != 1 || len(p.Checksums[0].Value) != 64 {
		t.Errorf("the program: %+v", p)
	}
}

func TestUnknownLicence(t *testing.T) {
	file := filepath.Join(t.TempDir(), "licences")
	if err := os.WriteFile(file, []byte("file://pkg/mod/a@v1/LICENSE;md5=1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readLicences(file); err == nil || !strings.Contains(err.Error(), "no licence in") {
		t.Errorf("a line without a licence: %v", err)
	}
}
