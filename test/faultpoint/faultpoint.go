// SPDX-License-Identifier: Apache-2.0

// Package faultpoint stops a program at its n-th system call that changes
// something: it is killed there, as by a power cut that loses nothing that was
// written before, or the call fails, or somebody types Ctrl-C. A test sweeps n over all of them and looks
// at what each leaves behind:
//
//	faultpoint.Sweep(t, faultpoint.Kill, func(t *testing.T) faultpoint.Scenario {
//		o := …                                          // a new one each time
//		return faultpoint.Scenario{
//			Args:  []string{"ovl-restore", …},
//			Check: func(t *testing.T, at faultpoint.Stop) { … },
//		}
//	})
//
// The program runs under ptrace(2), with all its threads; nothing is built into
// it. A test binary can trace itself: see Env and Main.
package faultpoint

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Stop is where a program was stopped, or what it ended with.
type Stop struct {
	N    int    // the number of the call, from 1; 0 where it came to its end
	Call string // the call's name, and its path or descriptor's
	Exit int    // the program's exit code, where it came to its end
	Out  []byte // what it printed
	// Calls is how many calls it made that ask a file system something, or change it.
	Calls int
}

func (s Stop) String() string {
	if s.N == 0 {
		return fmt.Sprintf("exit code %d", s.Exit)
	}
	return fmt.Sprintf("call %d, %s", s.N, s.Call)
}

// Fault is what happens at the call.
type Fault struct {
	errno     unix.Errno // 0: the program is killed
	interrupt bool       // or gets SIGINT
	pause     time.Duration
	of        uint64 // if not 0, only this system call counts
	every     int
}

// Kill kills the program before the call.
var Kill = Fault{}

// Fail lets the call fail with an errno, and the program go on.
func Fail(errno unix.Errno) Fault { return Fault{errno: errno} }

// Interrupt sends the program SIGINT, as Ctrl-C does, and lets it go on. Only
// system calls of that number count; 0 stands for all that change something.
func Interrupt(call uint64) Fault { return Fault{interrupt: true, of: call} }

// Pause lets time pass before the call, as a slow disk does. It counts as
// Interrupt does.
func Pause(call uint64, d time.Duration) Fault { return Fault{pause: d, of: call} }

// Every makes a sweep go on by n calls at a time, for a test that has to be short.
func (f Fault) Every(n int) Fault {
	f.every = n
	return f
}

func (f Fault) kills() bool { return f.errno == 0 && !f.interrupt && f.pause == 0 }

// Program is what to run.
type Program struct {
	Args []string // Args[0] is looked for in PATH
	Env  []string // nil: this process's
	Dir  string
	// Stdout and Stderr are where its output goes; if nil, to Stop.Out.
	Stdout, Stderr *os.File
}

// Run runs a program up to its n-th call that changes something, and does there
// what fault says. Counting begins when the program is executed. Call is then of
// that call also where it failed and the program went on.
func (f Fault) Run(p Program, n int) (Stop, error) {
	type outcome struct {
		stop Stop
		err  error
	}
	// All of ptrace is for one thread. It is not given back: a thread that has
	// traced may have a SIGCHLD left that is nobody else's.
	done := make(chan outcome, 1)
	go func() {
		runtime.LockOSThread()
		stop, err := f.run(p, n)
		done <- outcome{stop, err}
	}()
	o := <-done
	return o.stop, o.err
}

func (f Fault) run(p Program, n int) (Stop, error) {
	path, err := exec.LookPath(p.Args[0])
	if err != nil {
		return Stop{}, err
	}
	out, err := os.CreateTemp("", "faultpoint-")
	if err != nil {
		return Stop{}, err
	}
	defer func() { _ = out.Close() }()
	if err := os.Remove(out.Name()); err != nil {
		return Stop{}, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return Stop{}, err
	}
	defer func() { _ = null.Close() }()
	env := p.Env
	if env == nil {
		env = os.Environ()
	}
	files := []uintptr{null.Fd(), out.Fd(), out.Fd()}
	for i, f := range []*os.File{p.Stdout, p.Stderr} {
		if f != nil {
			files[1+i] = f.Fd()
		}
	}
	pid, err := syscall.ForkExec(path, p.Args, &syscall.ProcAttr{
		Dir: p.Dir, Env: env,
		Files: files,
		Sys:   &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return Stop{}, fmt.Errorf("run %s: %w", p.Args[0], err)
	}
	t := &tracer{pid: pid, fault: f, at: n, entered: map[int]bool{}}
	var st unix.Stat_t
	if err := unix.Fstat(int(out.Fd()), &st); err != nil {
		return Stop{}, err
	}
	t.output = st.Ino
	stop, err := t.trace()
	if err != nil {
		_ = unix.Kill(pid, unix.SIGKILL)
		return Stop{}, fmt.Errorf("trace %s: %w", p.Args[0], err)
	}
	info, err := out.Stat()
	if err != nil {
		return stop, err
	}
	stop.Out = make([]byte, info.Size())
	_, err = out.ReadAt(stop.Out, 0)
	return stop, err
}

// tracer follows one program.
type tracer struct {
	pid     int
	fault   Fault
	at      int
	output  uint64       // the inode of the program's output, which does not count
	seen    int          // calls that change something
	entered map[int]bool // threads that are in a system call
	failing int          // the thread whose call is to fail; 0 for none
	stop    Stop
}

// wNothread is __WNOTHREAD of wait4(2): other threads have children of their own.
const wNothread = 0x20000000

func (t *tracer) trace() (Stop, error) {
	var status unix.WaitStatus
	if _, err := unix.Wait4(t.pid, &status, unix.WALL, nil); err != nil {
		return Stop{}, err
	}
	if err := unix.PtraceSetOptions(t.pid, unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_TRACECLONE|
		unix.PTRACE_O_TRACEFORK|unix.PTRACE_O_TRACEVFORK|unix.PTRACE_O_EXITKILL); err != nil {
		return Stop{}, fmt.Errorf("set options: %w", err)
	}
	tid, signal := t.pid, 0
	for {
		// ESRCH: it was killed meanwhile, which the next wait says.
		if err := unix.PtraceSyscall(tid, signal); err != nil && !errors.Is(err, unix.ESRCH) {
			return Stop{}, fmt.Errorf("continue: %w", err)
		}
		for {
			var err error
			tid, err = unix.Wait4(-1, &status, unix.WALL|wNothread, nil)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil {
				return Stop{}, fmt.Errorf("wait: %w", err)
			}
			if tid == t.pid && (status.Exited() || status.Signaled()) {
				return t.ended(status)
			}
			if status.Stopped() {
				break
			}
			delete(t.entered, tid) // a thread has ended
		}
		var err error
		if signal, err = t.stopped(tid, status); err != nil {
			return Stop{}, err
		}
	}
}

func (t *tracer) ended(status unix.WaitStatus) (Stop, error) {
	switch {
	case status.Signaled() && t.stop.N > 0 && t.fault.kills():
	case status.Exited():
		t.stop.Exit = status.ExitStatus()
	default:
		return t.stop, fmt.Errorf("it ended by the signal %v", status.Signal())
	}
	return t.stop, nil
}

// stopped looks at a thread that has stopped, and says which signal it is to get.
func (t *tracer) stopped(tid int, status unix.WaitStatus) (signal int, err error) {
	switch sig := status.StopSignal(); sig {
	case unix.SIGTRAP | 0x80: // a system call
		err := t.call(tid)
		if errors.Is(err, unix.ESRCH) {
			err = nil
		}
		return 0, err
	case unix.SIGTRAP, unix.SIGSTOP: // a clone, an exec, a new thread
		return 0, nil
	default:
		return int(sig), nil
	}
}

// call is at the entry of a system call, or at its end.
func (t *tracer) call(tid int) error {
	info, err := callInfo(tid)
	if err != nil {
		return fmt.Errorf("ask for the system call: %w", err)
	}
	if info.Op != opEntry {
		if t.failing == tid {
			t.failing = 0
			return setResult(tid, t.fault.errno)
		}
		return nil
	}
	name := t.changes(tid, info)
	if name != "" || asking[info.Number] {
		t.stop.Calls++
	}
	switch t.fault.of {
	case 0:
	case info.Number:
		name = "the call"
	default:
		name = ""
	}
	if name == "" {
		return nil
	}
	t.seen++
	if t.seen != t.at {
		return nil
	}
	t.stop.N, t.stop.Call = t.seen, name
	switch {
	case t.fault.pause > 0:
		time.Sleep(t.fault.pause)
		return nil
	case t.fault.interrupt:
		return unix.Kill(t.pid, unix.SIGINT)
	case t.fault.kills():
		return unix.Kill(t.pid, unix.SIGKILL)
	}
	t.failing = tid
	return skipCall(tid)
}
