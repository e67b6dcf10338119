// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
)

// MakeExt4 makes a sparse disk image of size bytes with an ext4 file system;
// options are mke2fs's.
func MakeExt4(ctx context.Context, path string, size int64, options ...string) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("make a disk: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("make a disk: %w", err)
	}
	if err := os.Truncate(path, size); err != nil {
		return fmt.Errorf("make a disk: %w", err)
	}
	args := append([]string{"-q", "-F", "-t", "ext4"}, options...)
	// mke2fs counts a size without a unit in blocks.
	cmd := exec.CommandContext(ctx, mke2fs(), append(args, path, strconv.FormatInt(size>>10, 10)+"k")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("mke2fs %s: %w: %s", path, err, out)
	}
	return nil
}

// mke2fs is where Debian has it: out of the path of an ordinary user.
func mke2fs() string {
	if path, err := exec.LookPath("mke2fs"); err == nil {
		return path
	}
	return "/usr/sbin/mke2fs"
}
