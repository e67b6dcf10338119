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
)

type scriptCommand = func(ts *testscript.TestScript, neg bool, args []string)

// scriptCommands are what the scripts can do besides testscript's own commands.
func scriptCommands() map[string]scriptCommand {
	return map[string]scriptCommand{
		"exits":     cmdExits,
		"ends":      cmdEnds,
		"mount":     cmdMount,
		"umount":    cmdUmount,
		"overlay":   cmdOverlay,
		"ls":        cmdLs,
		"tree":      cmdTree,
		"listed":    cmdListed,
		"names":     cmdNames,
		"strip":     cmdStrip,
		"fill":      cmdFill,
		"whiteouts": cmdWhiteouts,
		"deep":      cmdDeep,
		"whiteout":  cmdWhiteout,
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
		"metrics":   cmdMetrics,
		"divided":   cmdDivided,
		"shared":    cmdShared,
		"whole":     cmdWhole,
	}
}

// cmdEnds runs a program, whatever its exit code: for what also sees the overlays
// that other scripts make and unmount meanwhile.
func cmdEnds(ts *testscript.TestScript, neg bool, args []string) {
	arg(ts, neg, args, 1)
	var exit *exec.ExitError
	if err := ts.Exec(args[0], args[1:]...); err != nil && !errors.As(err, &exit) {
		ts.Check(err)
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

// cmdFill writes to a file until its file system is full.
func cmdFill(ts *testscript.TestScript, neg bool, args []string) {
	f, err := os.Create(ts.MkAbs(arg(ts, neg, args, 1)[0]))
	ts.Check(err)
	_, err = io.Copy(f, zeros{})
	if !errors.Is(err, unix.ENOSPC) {
		ts.Fatalf("fill the file system: %v", err)
	}
	ts.Check(f.Close())
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// cmdWhiteout makes whiteouts by hand: whiteout FILE…
func cmdWhiteout(ts *testscript.TestScript, neg bool, args []string) {
	for _, path := range arg(ts, neg, args, 1) {
		ts.Check(unix.Mknod(ts.MkAbs(path), unix.S_IFCHR, 0))
	}
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
		at := unix.NsecToTimespec(*mtime*int64(time.Second) + 123456789)
		times := []unix.Timespec{at, at}
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
		switch args[0] {
		case "state":
			into = new(jsonState)
		case "status":
			into = new(jsonStatus)
		case "reset":
			into = new(jsonReset)
		case "survey":
			into = new(jsonSurvey)
		case "cleaned":
			into = new(jsonCleaned)
		case "tx":
			into = new(jsonTx)
		case "entry":
			into = new(jsonEntry)
		case "undone":
			into = new(jsonUndone)
		case "finding":
			if into = new(jsonFinding); strings.Contains(line, `"status":"checked"`) {
				into = new(jsonChecked)
			}
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

// cmdDeep makes so many directories in each other: to walk them takes long.
func cmdDeep(ts *testscript.TestScript, neg bool, args []string) {
	arg(ts, neg, args, 2)
	depth, err := strconv.Atoi(args[1])
	ts.Check(err)
	fd, err := unix.Open(ts.MkAbs(args[0]), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	ts.Check(err)
	for range depth {
		ts.Check(unix.Mkdirat(fd, "deep", 0o755))
		next, err := unix.Openat(fd, "deep", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		ts.Check(err)
		ts.Check(unix.Close(fd))
		fd = next
	}
	ts.Check(unix.Close(fd))
}
