// SPDX-License-Identifier: Apache-2.0

// Command sbom prints what is in a program that go has built, as an SPDX 2.3
// document: the program itself, the modules that it was linked from, and the
// standard library.
//
//	sbom PROGRAM VERSION LICENCES
//
// LICENCES is a list that has MODULE@VERSION/FILE;…;spdx=ID for each module, as
// the Yocto recipe has it. The document is dated with SOURCE_DATE_EPOCH.
package main

import (
	"bufio"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	if len(args) != 3 {
		return errors.New("want PROGRAM, VERSION and LICENCES")
	}
	info, err := buildinfo.ReadFile(args[0])
	if err != nil {
		return err
	}
	licences, err := readLicences(args[2])
	if err != nil {
		return err
	}
	checksum, err := sha256sum(args[0])
	if err != nil {
		return err
	}
	epoch, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	doc, err := describe(filepath.Base(args[0]), args[1], checksum, time.Unix(epoch, 0).UTC(), info, licences)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(doc)
}

func sha256sum(file string) (string, error) {
	data, err := os.ReadFile(file)
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), err
}

// readLicences returns the licence of each MODULE@VERSION.
func readLicences(file string) (licences map[string]string, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	licences = map[string]string{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		rest, ok := strings.CutPrefix(strings.TrimSpace(lines.Text()), "file://pkg/mod/")
		if !ok {
			continue
		}
		module, _, _ := strings.Cut(rest, ";")
		_, id, found := strings.Cut(rest, "spdx=")
		if !found {
			return nil, fmt.Errorf("%s: no licence in %q", file, rest)
		}
		id, _, _ = strings.Cut(id, " ")
		module, _ = filepath.Split(module)
		licences[unescape(strings.TrimSuffix(module, "/"))] = id
	}
	return licences, lines.Err()
}

// unescape turns the module cache's !x into X.
func unescape(s string) string {
	parts := strings.Split(s, "!")
	for i, p := range parts[1:] {
		if p != "" {
			parts[i+1] = strings.ToUpper(p[:1]) + p[1:]
		}
	}
	return strings.Join(parts, "")
}

// The parts of an SPDX 2.3 document that are used here.
type (
	document struct {
		Version       string         `json:"spdxVersion"`
		DataLicense   string         `json:"dataLicense"`
		ID            string         `json:"SPDXID"`
		Name          string         `json:"name"`
		Namespace     string         `json:"documentNamespace"`
		Creation      creation       `json:"creationInfo"`
		Packages      []spdxPackage  `json:"packages"`
		Relationships []relationship `json:"relationships"`
	}
	creation struct {
		Created  string   `json:"created"`
		Creators []string `json:"creators"`
	}
	spdxPackage struct {
		ID               string     `json:"SPDXID"`
		Name             string     `json:"name"`
		Version          string     `json:"versionInfo"`
		FileName         string     `json:"packageFileName,omitempty"`
		Supplier         string     `json:"supplier"`
		Download         string     `json:"downloadLocation"`
		FilesAnalyzed    bool       `json:"filesAnalyzed"`
		LicenseConcluded string     `json:"licenseConcluded"`
		LicenseDeclared  string     `json:"licenseDeclared"`
		Copyright        string     `json:"copyrightText"`
		Comment          string     `json:"comment,omitempty"`
		Purpose          string     `json:"primaryPackagePurpose"`
		Checksums        []checksum `json:"checksums,omitempty"`
		Refs             []ref      `json:"externalRefs,omitempty"`
	}
	checksum struct {
		Algorithm string `json:"algorithm"`
		Value     string `json:"checksumValue"`
	}
	ref struct {
		Category string `json:"referenceCategory"`
		Type     string `json:"referenceType"`
		Locator  string `json:"referenceLocator"`
	}
	relationship struct {
		Element string `json:"spdxElementId"`
		Type    string `json:"relationshipType"`
		Related string `json:"relatedSpdxElement"`
	}
)

const (
	noAssertion = "NOASSERTION"
	programID   = "SPDXRef-program"
	documentID  = "SPDXRef-DOCUMENT"
)

// describe makes the document. A linked module without a licence is an error.
func describe(name, version, sum string, created time.Time, info *debug.BuildInfo, licences map[string]string) (*document, error) {
	doc := &document{
		Version: "SPDX-2.3", DataLicense: "CC0-1.0", ID: documentID,
		Name:      name + "-" + version,
		Namespace: "https://" + info.Main.Path + "/spdx/" + name + "-" + version + "-" + sum,
		Creation:  creation{created.Format(time.RFC3339), []string{"Tool: ovl-restore-sbom"}},
	}
	program := newPackage(programID, info.Main.Path, version, "Apache-2.0")
	program.Purpose, program.Name, program.FileName = "APPLICATION", name, name
	program.Checksums = []checksum{{"SHA256", sum}}
	program.Comment = target(info)
	doc.add(program, relationship{documentID, "DESCRIBES", programID})

	lib := newPackage("SPDXRef-stdlib", "stdlib", strings.TrimPrefix(info.GoVersion, "go"), "BSD-3-Clause")
	doc.add(lib, relationship{programID, "STATIC_LINK", lib.ID})
	for i, dep := range info.Deps {
		licence, ok := licences[dep.Path+"@"+dep.Version]
		if !ok {
			return nil, fmt.Errorf("no licence is known for %s %s: run make yocto-modules", dep.Path, dep.Version)
		}
		p := newPackage(fmt.Sprintf("SPDXRef-module-%d", i+1), dep.Path, dep.Version, licence)
		p.Comment = "go.sum: " + dep.Sum
		if dep.Replace != nil {
			p.Comment = "without the parts that the program does not use: see tools/lean.sh"
		}
		doc.add(p, relationship{programID, "STATIC_LINK", p.ID})
	}
	return doc, nil
}

func (d *document) add(p spdxPackage, r relationship) {
	d.Packages = append(d.Packages, p)
	d.Relationships = append(d.Relationships, r)
}

// newPackage describes a module, by its path.
func newPackage(id, path, version, licence string) spdxPackage {
	return spdxPackage{
		ID: id, Name: path, Version: version, Purpose: "LIBRARY",
		Supplier: noAssertion, Download: noAssertion, Copyright: noAssertion,
		LicenseConcluded: licence, LicenseDeclared: licence,
		Refs: []ref{{"PACKAGE-MANAGER", "purl", "pkg:golang/" + path + "@" + version}},
	}
}

// target says what the program was built for.
func target(info *debug.BuildInfo) string {
	var words []string
	for _, s := range info.Settings {
		switch s.Key {
		case "GOOS", "GOARCH", "GOARM", "CGO_ENABLED":
			words = append(words, s.Key+"="+s.Value)
		}
	}
	return strings.Join(words, " ")
}
