// SPDX-License-Identifier: Apache-2.0

// Command boot boots a kernel in QEMU, runs one command in it, and exits as
// the command did. The tool is in the guest's /usr/bin, and a shell script is
// run with:
//
//	go run ./test/vm/boot -series 6.1 -variant patched -- sh -c 'ovl-restore --version'
//
// With -test PKG the command is that package's test binary, and the arguments
// are its flags:
//
//	go run ./test/vm/boot -test ./test/bench -- -test.bench=.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/ovl-restore/ovl-restore/test/vm"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code, err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "boot: %v\n", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// options are the flags.
type options struct {
	series, variant, test string
	programs              []string
	memory, cpus          int
	limit                 time.Duration
	kernelLog             bool
	files                 []vm.File
}

func parse() *options {
	o := &options{}
	flag.StringVar(&o.series, "series", "6.1", "kernel `series`")
	flag.StringVar(&o.variant, "variant", string(vm.Patched), "overlay `module`: stock or patched")
	flag.StringVar(&o.test, "test", "", "run the tests of this `package`")
	flag.Func("program", "build this command's `package` into the guest's /usr/bin; may be repeated", func(s string) error {
		o.programs = append(o.programs, s)
		return nil
	})
	flag.IntVar(&o.memory, "memory", 1024, "memory in `MiB`")
	flag.IntVar(&o.cpus, "cpus", 1, "number of processors")
	flag.DurationVar(&o.limit, "limit", 10*time.Minute, "`time` after which the guest is killed")
	flag.BoolVar(&o.kernelLog, "log", false, "print the kernel's log at the end")
	flag.Func("file", "put a file or directory of the host into the guest: `HOST:GUEST`; may be repeated", func(s string) error {
		host, guest, ok := strings.Cut(s, ":")
		if !ok || !strings.HasPrefix(guest, "/") {
			return errors.New("want HOST:/GUEST")
		}
		o.files = append(o.files, vm.File{Host: host, Guest: guest})
		return nil
	})
	flag.Parse()
	return o
}

func run(ctx context.Context) (code int, err error) {
	o := parse()
	if o.test == "" && flag.NArg() == 0 {
		return 2, errors.New("no command; see -help")
	}
	ctx, cancel := context.WithTimeout(ctx, o.limit)
	defer cancel()

	kernel, err := vm.Prepare(ctx, o.series, vm.Variant(o.variant))
	if err != nil {
		return 1, err
	}
	tool, err := vm.ToolFiles(ctx)
	if err != nil {
		return 1, err
	}
	command := vm.Command{Args: flag.Args(), Stdout: os.Stdout, Stderr: os.Stderr}
	files := slices.Concat(o.files, tool)
	for _, pkg := range o.programs {
		program, err := vm.BuildProgram(ctx, pkg)
		if err != nil {
			return 1, err
		}
		files = append(files, vm.File{Host: program, Guest: "/usr/bin/" + filepath.Base(pkg), Mode: 0o755})
	}
	if o.test != "" {
		tests, err := vm.BuildTests(ctx, o.test)
		if err != nil {
			return 1, err
		}
		files = append(files, tests[0].Files()...)
		command.Args = append([]string{tests[0].Program()}, flag.Args()...)
		command.Dir = tests[0].Dir()
	}
	guest, err := vm.Boot(ctx, vm.Config{Kernel: kernel, Files: files, Memory: o.memory, CPUs: o.cpus})
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, guest.Kill()) }()
	result, err := guest.Run(ctx, command)
	if err != nil {
		return 1, err
	}
	err = guest.Shutdown(ctx)
	if o.kernelLog {
		fmt.Fprint(os.Stderr, guest.Console())
	}
	if result.Signal != "" {
		return 1, errors.Join(fmt.Errorf("ended by signal: %s", result.Signal), err)
	}
	return result.Code, err
}
