// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/test/namespace"
)

type scriptCommand = func(ts *testscript.TestScript, neg bool, args []string)

// scriptCommands are what the scripts can do besides testscript's own commands.
func scriptCommands() map[string]scriptCommand {
	return map[string]scriptCommand{
		"exits":     cmdExits,
		"mount":     cmdMount,
		"umount":    cmdUmount,
		"overlay":   cmdOverlay,
		"ls":        cmdLs,
		"tree":      cmdTree,
		"listed":    cmdListed,
		"names":     cmdNames,
		"strip":     cmdStrip,
		"whiteouts": cmdWhiteouts,
		"setattr":   cmdSetattr,
		"link":      cmdLink,
		"readlink":  cmdReadlink,
		"backup":    cmdBackup,
		"appears":   cmdAppears,
		"base64":    cmdBase64,
		"hold":      cmdHold,
		"release":   cmdRelease,
		"lock":      cmdLock,
		"json":      cmdJSON,
		"divided":   cmdDivided,
		"shared":    cmdShared,
		"whole":     cmdWhole,
	}
}

// cmdExits runs a program and asserts its exit code: exits CODE PROGRAM ARG…
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(arg(ts, neg, args, 2)[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	ts.Logf("[exit %d]", got)
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// cmdMount is mount(8) as people type it, until the script ends.
func cmdMount(ts *testscript.TestScript, neg bool, args []string) {
	var fstype, options string
	var words []string
	for len(args) > 0 {
		f := flag.NewFlagSet("mount", flag.ContinueOnError)
		f.StringVar(&fstype, "t", fstype, "")
		f.StringVar(&options, "o", options, "")
		ts.Check(f.Parse(args))
		args = f.Args()
		if len(args) > 0 {
			words, args = append(words, args[0]), args[1:]
		}
	}
	arg(ts, neg, words, 2)
	source, target := words[0], ts.MkAbs(words[1])
	var flags uintptr
	switch {
	case options == "bind":
		source, options, flags = ts.MkAbs(source), "", unix.MS_BIND
	case fstype == "overlay" && !namespace.Privileged():
		options += ",userxattr"
	}
	if before, ok := strings.CutSuffix(options, ",ro"); ok {
		options, flags = before, unix.MS_RDONLY
	}
	if err := unix.Mount(source, target, fstype, flags, options); err != nil {
		ts.Fatalf("mount -t %s -o %s %s %s: %v", fstype, options, source, target, err)
	}
	ts.Defer(func() {
		err := unix.Unmount(target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			ts.Logf("unmount %s: %v", target, err)
		}
	})
}

func cmdUmount(ts *testscript.TestScript, neg bool, args []string) {
	ts.Check(unix.Unmount(ts.MkAbs(arg(ts, neg, args, 1)[0]), 0))
}

// cmdOverlay makes DIR/lower, upper, work and merged, where they are missing,
// and mounts the overlay: overlay DIR [MNT [OPTION…]]
func cmdOverlay(ts *testscript.TestScript, neg bool, args []string) {
	dir := ts.MkAbs(arg(ts, neg, args, 1)[0])
	target := filepath.Join(dir, "merged")
	if len(args) > 1 {
		target = args[1]
	}
	for _, d := range []string{dir + "/lower", dir + "/upper", dir + "/work", ts.MkAbs(target)} {
		ts.Check(os.MkdirAll(d, 0o755))
	}
	options := []string{"lowerdir=" + dir + "/lower", "upperdir=" + dir + "/upper", "workdir=" + dir + "/work"}
	if len(args) > 2 {
		options = append(options, args[2:]...)
	}
	cmdMount(ts, false, []string{"-t", "overlay", "-o", strings.Join(options, ","), "overlay", target})
}

// cmdLs prints type and mode, and a device's numbers, as ls -l does.
func cmdLs(ts *testscript.TestScript, neg bool, args []string) {
	for _, path := range arg(ts, neg, args, 1) {
		var st unix.Stat_t
		ts.Check(unix.Lstat(ts.MkAbs(path), &st))
		info, err := os.Lstat(ts.MkAbs(path))
		ts.Check(err)
		mode := strings.TrimPrefix(info.Mode().String(), "D")
		device := ""
		if info.Mode()&fs.ModeDevice != 0 {
			device = fmt.Sprintf(" %d, %d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		}
		fmt.Fprintf(ts.Stdout(), "%s%s %s\n", mode, device, filepath.Base(path))
	}
}

// cmdTree prints all that is to know about files and the trees below them; two
// of its outputs are equal if nothing was changed. Names are printed relative to
// each argument, so that a file can be compared with its backup.
func cmdTree(ts *testscript.TestScript, neg bool, args []string) {
	out := ts.Stdout()
	fmt.Fprint(out) // nothing is an answer, too
	for _, root := range arg(ts, neg, args, 1) {
		root = ts.MkAbs(root)
		err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			line, err := describeFile(path)
			fmt.Fprintf(out, "%q %s\n", strings.TrimPrefix(path, root), line)
			return err
		})
		ts.Check(err)
	}
}

func describeFile(path string) (string, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return "", err
	}
	line := fmt.Sprintf("mode %o owner %d:%d rdev %d size %d mtime %d.%09d",
		st.Mode, st.Uid, st.Gid, st.Rdev, st.Size, st.Mtim.Sec, st.Mtim.Nsec)
	attrs, err := xattrs(path)
	if err != nil {
		return "", err
	}
	line += " xattrs " + attrs
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		data, err := os.ReadFile(path)
		return line + fmt.Sprintf(" data %q", data), err
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		return line + fmt.Sprintf(" to %q", target), err
	}
	return line, nil
}

func xattrs(path string) (string, error) {
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, buf)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return "none", nil
	}
	if err != nil {
		return "", err
	}
	var all []string
	for name := range strings.SplitSeq(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		if name == "" || strings.HasSuffix(name, ".overlay.impure") { // the kernel's own cache
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return "", err
		}
		all = append(all, fmt.Sprintf("%s=%q", name, value[:n]))
	}
	slices.Sort(all)
	return fmt.Sprint(all), nil
}

// cmdListed asserts that a directory lists a name: [!] listed DIR NAME
func cmdListed(ts *testscript.TestScript, neg bool, args []string) {
	arg(ts, false, args, 2)
	entries, err := os.ReadDir(ts.MkAbs(args[0]))
	ts.Check(err)
	found := slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == args[1] })
	if found == neg {
		ts.Fatalf("%s lists %q: %v", args[0], args[1], found)
	}
}

// cmdNames writes a list of names to a file: names [-0] FILE NAME…
func cmdNames(ts *testscript.TestScript, neg bool, args []string) {
	end := "\n"
	if len(args) > 0 && args[0] == "-0" {
		end, args = "\x00", args[1:]
	}
	arg(ts, neg, args, 1)
	var b strings.Builder
	for _, name := range args[1:] {
		b.WriteString(name + end)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(b.String()), 0o644))
}

// cmdStrip copies a file without the newline at its end: strip FROM TO
func cmdStrip(ts *testscript.TestScript, neg bool, args []string) {
	arg(ts, neg, args, 2)
	text := strings.TrimSuffix(ts.ReadFile(args[0]), "\n")
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o644))
}

// cmdWhiteouts fills the directory below DIR/lower with N files, and the one
// below DIR/upper with as many whiteouts, and writes their paths in the merged
// view to DIR/SUB.list: whiteouts DIR SUB N
func cmdWhiteouts(ts *testscript.TestScript, neg bool, args []string) {
	arg(ts, neg, args, 3)
	n, err := strconv.Atoi(args[2])
	ts.Check(err)
	lower := filepath.Join(ts.MkAbs(args[0]), "lower", args[1])
	upper := filepath.Join(ts.MkAbs(args[0]), "upper", args[1])
	for _, dir := range []string{lower, upper} {
		ts.Check(os.MkdirAll(dir, 0o755))
	}
	var list strings.Builder
	for i := range n {
		name := fmt.Sprintf("/%05d", i)
		list.WriteString(filepath.Join(ts.MkAbs(args[0]), "merged", args[1]) + name + "\n")
		ts.Check(os.WriteFile(lower+name, []byte("lower\n"), 0o644))
		ts.Check(unix.Mknod(upper+name, unix.S_IFCHR, 0))
	}
	ts.Check(os.WriteFile(filepath.Join(ts.MkAbs(args[0]), args[1]+".list"), []byte(list.String()), 0o644))
}

// cmdSetattr changes what testscript cannot: setattr [-mtime SECONDS] [-uid N]
// [-xattr NAME=VALUE] FILE
func cmdSetattr(ts *testscript.TestScript, neg bool, args []string) {
	f := flag.NewFlagSet("setattr", flag.ContinueOnError)
	mtime := f.Int64("mtime", -1, "")
	uid := f.Int("uid", -1, "")
	attr := f.String("xattr", "", "")
	ts.Check(f.Parse(args))
	path := ts.MkAbs(arg(ts, neg, f.Args(), 1)[0])
	if *attr != "" {
		name, value, _ := strings.Cut(*attr, "=")
		ts.Check(unix.Lsetxattr(path, name, []byte(value), 0))
	}
	if *uid >= 0 {
		ts.Check(os.Lchown(path, *uid, *uid))
	}
	if *mtime >= 0 {
		times := []unix.Timespec{{Sec: *mtime, Nsec: 123456789}, {Sec: *mtime, Nsec: 123456789}}
		ts.Check(unix.UtimesNanoAt(unix.AT_FDCWD, path, times, unix.AT_SYMLINK_NOFOLLOW))
	}
}

// cmdLink makes a hard link: link OLD NEW
func cmdLink(ts *testscript.TestScript, neg bool, args []string) {
	arg(ts, neg, args, 2)
	ts.Check(os.Link(ts.MkAbs(args[0]), ts.MkAbs(args[1])))
}

// cmdReadlink prints where a symbolic link leads.
func cmdReadlink(ts *testscript.TestScript, neg bool, args []string) {
	target, err := os.Readlink(ts.MkAbs(arg(ts, neg, args, 1)[0]))
	ts.Check(err)
	fmt.Fprintln(ts.Stdout(), target)
}

// cmdBackup sets $BACKUP to where the last standard output says a backup is.
func cmdBackup(ts *testscript.TestScript, _ bool, _ []string) {
	_, backup, ok := strings.Cut(strings.TrimSuffix(ts.ReadFile("stdout"), "\n"), ", backup ")
	if !ok {
		ts.Fatalf("the output names no backup")
	}
	ts.Setenv("BACKUP", backup)
}

// cmdBase64 sets $BASE64 to the encoding of its argument.
func cmdBase64(ts *testscript.TestScript, neg bool, args []string) {
	ts.Setenv("BASE64", base64.StdEncoding.EncodeToString([]byte(arg(ts, neg, args, 1)[0])))
}

// cmdAppears waits until a file that another process writes holds a text:
// appears TEXT FILE
func cmdAppears(ts *testscript.TestScript, neg bool, args []string) {
	arg(ts, neg, args, 2)
	for limit := time.Now().Add(time.Minute); time.Now().Before(limit); time.Sleep(time.Millisecond) {
		data, err := os.ReadFile(ts.MkAbs(args[1]))
		if err == nil && strings.Contains(string(data), args[0]) {
			return
		}
	}
	ts.Fatalf("%s: %q did not appear within a minute", args[1], args[0])
}

// held is what a script holds open, by path.
type heldKey struct{}

func heldFiles(ts *testscript.TestScript) map[string]*os.File {
	held, ok := ts.Value(heldKey{}).(map[string]*os.File)
	if !ok {
		ts.Fatalf("Setup did not set what the script holds open")
	}
	return held
}

// cmdHold keeps a file open, as another process would; cmdRelease closes it.
func cmdHold(ts *testscript.TestScript, neg bool, args []string) {
	path := ts.MkAbs(arg(ts, neg, args, 1)[0])
	f, err := os.Open(path)
	ts.Check(err)
	heldFiles(ts)[path] = f
}

func cmdRelease(ts *testscript.TestScript, neg bool, args []string) {
	held := heldFiles(ts)
	path := ts.MkAbs(arg(ts, neg, args, 1)[0])
	f := held[path]
	if f == nil {
		ts.Fatalf("%s is not held", path)
	}
	delete(held, path)
	ts.Check(f.Close())
}

// cmdLock locks a store, as another ovl-restore would; release ends it.
func cmdLock(ts *testscript.TestScript, neg bool, args []string) {
	store := ts.MkAbs(arg(ts, neg, args, 1)[0])
	ts.Check(os.MkdirAll(store, 0o700))
	path := filepath.Join(store, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	ts.Check(err)
	ts.Check(unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB))
	heldFiles(ts)[path] = f
}

// cmdJSON asserts that the last standard output is one JSON object a line, with
// no field that the schema does not have, N of them: json KIND N
func cmdJSON(ts *testscript.TestScript, neg bool, args []string) {
	arg(ts, neg, args, 2)
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	n := 0
	for line := range strings.Lines(ts.ReadFile("stdout")) {
		n++
		var into any = new(jsonResult)
		if args[0] == "state" {
			into = new(jsonState)
		}
		d := json.NewDecoder(strings.NewReader(line))
		d.DisallowUnknownFields()
		if err := d.Decode(into); err != nil {
			ts.Fatalf("line %d, %q: %v", n, line, err)
		}
		if _, err := d.Token(); !errors.Is(err, io.EOF) {
			ts.Fatalf("line %d, %q: more than one value", n, line)
		}
	}
	if n != want {
		ts.Fatalf("%d objects, want %d", n, want)
	}
}

// cmdDivided asserts that an interrupted batch of the N paths of whiteouts was
// cut in two: some were restored and listed so, the others failed with EINTR and
// are still whiteouts, and there is nothing between: divided DIR SUB N
func cmdDivided(ts *testscript.TestScript, neg bool, args []string) {
	arg(ts, neg, args, 3)
	total, err := strconv.Atoi(args[2])
	ts.Check(err)
	base := ts.MkAbs(args[0])
	merged := filepath.Join(base, "merged", args[1])
	restored, failed := map[string]bool{}, map[string]bool{}
	for line := range strings.Lines(ts.ReadFile("stdout")) {
		path, ok := strings.CutPrefix(line, "restored ")
		if !ok {
			ts.Fatalf("unexpected output: %q", line)
		}
		path, _, _ = strings.Cut(path, " ")
		restored[path] = true
	}
	for line := range strings.Lines(ts.ReadFile("stderr")) {
		path, reason, ok := strings.Cut(strings.TrimPrefix(line, "ovl-restore: "), ": ")
		if !ok || !strings.HasPrefix(reason, "EINTR") {
			ts.Fatalf("unexpected error: %q", line)
		}
		failed[path] = true
	}
	for i := range total {
		name := fmt.Sprintf("/%05d", i)
		path := merged + name
		_, visible := os.Lstat(path)
		_, inUpper := os.Lstat(filepath.Join(base, "upper", args[1]) + name)
		switch {
		case restored[path] == failed[path]:
			ts.Fatalf("%s: restored %v, failed %v", path, restored[path], failed[path])
		case restored[path] != (visible == nil), failed[path] != (inUpper == nil):
			ts.Fatalf("%s: restored %v, but in the merged view: %v, in the upper: %v", path, restored[path], visible, inUpper)
		}
	}
	upper, err := os.ReadDir(filepath.Join(base, "upper", args[1]))
	ts.Check(err)
	if len(restored) == 0 || len(failed) == 0 || len(restored)+len(failed) != total || len(upper) != len(failed) {
		ts.Fatalf("%d restored, %d failed, %d entries in the upper", len(restored), len(failed), len(upper))
	}
	ts.Logf("%d restored, %d failed", len(restored), len(failed))
}

// cmdWhole asserts that the N paths of whiteouts are all back: whole DIR SUB N
func cmdWhole(ts *testscript.TestScript, neg bool, args []string) {
	arg(ts, neg, args, 3)
	total, err := strconv.Atoi(args[2])
	ts.Check(err)
	base := ts.MkAbs(args[0])
	listed, err := os.ReadDir(filepath.Join(base, "merged", args[1]))
	ts.Check(err)
	upper, err := os.ReadDir(filepath.Join(base, "upper", args[1]))
	ts.Check(err)
	if len(listed) != total || len(upper) != 0 {
		ts.Fatalf("%d entries in the merged view, %d in the upper", len(listed), len(upper))
	}
	for _, e := range listed {
		data, err := os.ReadFile(filepath.Join(base, "merged", args[1], e.Name()))
		ts.Check(err)
		if string(data) != "lower\n" {
			ts.Fatalf("%s: %q", e.Name(), data)
		}
	}
}

// cmdShared asserts that of two processes with the N paths of whiteouts one at
// least restored each, and that they told of no others: shared DIR SUB N
func cmdShared(ts *testscript.TestScript, neg bool, args []string) {
	arg(ts, neg, args, 3)
	total, err := strconv.Atoi(args[2])
	ts.Check(err)
	restored, told := map[string]int{}, map[string]int{}
	for line := range strings.Lines(ts.ReadFile("stdout")) {
		verb, path, _ := strings.Cut(line, " ")
		path, _, _ = strings.Cut(path, " ")
		switch verb {
		case "restored":
			restored[path]++
		case "refreshed", "shown":
		default:
			ts.Fatalf("unexpected output: %q", line)
		}
		told[path]++
	}
	for line := range strings.Lines(ts.ReadFile("stderr")) {
		path, reason, _ := strings.Cut(strings.TrimPrefix(line, "ovl-restore: "), ": ")
		if !strings.HasPrefix(reason, "ESTALE: ") && !strings.HasPrefix(reason, "EEXIST: ") {
			ts.Fatalf("unexpected error: %q", line)
		}
		told[path]++
	}
	for i := range total {
		path := filepath.Join(ts.MkAbs(args[0]), "merged", args[1], fmt.Sprintf("%05d", i))
		if restored[path] == 0 {
			ts.Fatalf("%s: restored by nobody", path)
		}
		delete(told, path)
	}
	if len(told) > 0 {
		ts.Fatalf("unexpected paths: %v", told)
	}
}

// arg checks that a command got at least n arguments, and no "!".
func arg(ts *testscript.TestScript, neg bool, args []string, n int) []string {
	if neg {
		ts.Fatalf("this command cannot be negated")
	}
	if len(args) < n {
		ts.Fatalf("%d arguments, want at least %d", len(args), n)
	}
	return args
}
