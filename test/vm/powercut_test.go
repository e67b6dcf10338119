// SPDX-License-Identifier: Apache-2.0

//go:build vmlong

package vm_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/ovl-restore/ovl-restore/test/vm"
)

// TestRestorePowerCut cuts a guest's power while names are removed, restored and
// discarded in it, again and again on the same disk. Each name must have its
// upper entry or show the lower file, and what was synced must be there.
func TestRestorePowerCut(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	root, err := vm.Root(ctx)
	if err != nil {
		t.Fatal(err)
	}
	program, err := vm.BuildProgram(ctx, "./test/kernel/powercut")
	if err != nil {
		t.Fatal(err)
	}
	for _, series := range vm.Series {
		if _, found := vm.Patches(root, series); !found {
			continue
		}
		t.Run(series, func(t *testing.T) {
			kernel, err := vm.Prepare(ctx, series, vm.Patched)
			if err != nil {
				t.Fatal(err)
			}
			for range 5 {
				p := &powerCut{kernel: kernel, program: program, disk: filepath.Join(t.TempDir(), "disk")}
				if err := vm.MakeExt4(ctx, p.disk, 256<<20); err != nil {
					t.Fatal(err)
				}
				// Twice on the same disk: the second starts from what the first left.
				for range 2 {
					p.check(ctx, t, p.cut(ctx, t))
				}
			}
		})
	}
}

type powerCut struct {
	kernel        *vm.Kernel
	program, disk string
}

func (p *powerCut) boot(ctx context.Context, t *testing.T) *vm.VM {
	t.Helper()
	guest, err := vm.Boot(ctx, vm.Config{
		Kernel:    p.kernel,
		Files:     []vm.File{{Guest: "/usr/bin/powercut", Host: p.program, Mode: 0o755}},
		Disks:     []vm.Disk{{Path: p.disk}},
		NoScratch: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return guest
}

// cut returns how many names were restored for good before the power went.
func (p *powerCut) cut(ctx context.Context, t *testing.T) int {
	t.Helper()
	guest := p.boot(ctx, t)
	out := &lines{first: make(chan struct{})}
	done := make(chan error, 1)
	go func() {
		r, err := guest.Run(ctx, vm.Command{Args: []string{"powercut", "work"}, Stdout: out})
		if err == nil {
			t.Errorf("powercut work ended by itself: %s", r.Combined)
		}
		done <- err
	}()
	select {
	case <-out.first:
	case err := <-done:
		t.Fatal(err)
	}
	time.Sleep(time.Duration(rand.IntN(3000)) * time.Millisecond)
	if err := guest.Kill(); err != nil {
		t.Error(err)
	}
	<-done
	return out.count()
}

func (p *powerCut) check(ctx context.Context, t *testing.T, durable int) {
	t.Helper()
	guest := p.boot(ctx, t)
	r, err := guest.Run(ctx, vm.Command{Args: []string{"powercut", "check", strconv.Itoa(durable)}})
	if err != nil {
		t.Fatal(err)
	}
	if r.Code != 0 {
		t.Errorf("after a power cut: %s", r.Combined)
	}
	t.Logf("%d restored for good; the others: %s", durable, bytes.TrimSpace(r.Stdout))
	if err := guest.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}

func (l *lines) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}
