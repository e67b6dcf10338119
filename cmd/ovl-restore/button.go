// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/ovl-restore/ovl-restore/internal/button"
)

const buttonHelp = `Watch a button of the device, and reset the device when it was held for some
time: as by ovl-restore reset request --yes --reboot. What is on the keep list is
kept.

The button is a key of the kernel's input devices, as gpio-keys makes it. A press
counts from the kernel's time stamp. A key that is down when this starts has to be
released first. Devices may come and go.

The light blinks while the button is down, and is lit when that was long enough.

KEY is a name, such as KEY_RESTART or KEY_POWER, or a number of
linux/input-event-codes.h. With --exec, a command is run by the shell in place of
the reset, each time.`

// buttonFlags are the flags of button.
type buttonFlags struct {
	devices []string
	key     string
	hold    time.Duration
	led     string
	exec    string
	quiet   bool
}

func newButton(out *printer) *cobra.Command {
	var f buttonFlags
	cmd := &cobra.Command{
		Use:   "button [flags]",
		Short: "Reset the device when its button is held",
		Long:  buttonHelp,
		Example: `  # the restart key of any input device, for five seconds
  ovl-restore button

  # one device, another key, a light, and a command of your own
  ovl-restore button --device /dev/input/by-path/platform-gpio-keys-event \
    --key KEY_CONFIG --hold 10s --led green:status --exec '/usr/libexec/my-reset'`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return errors.New("button takes no arguments; see --device")
			}
			if f.hold <= 0 {
				return fmt.Errorf("--hold %v: want a time, such as 5s", f.hold)
			}
			_, err := button.ParseKey(f.key)
			return err
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			out.quiet = f.quiet
			return printed(out, runButton(cmd.Context(), out, f))
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringArrayVar(&f.devices, "device", nil, "input device `PATH`, or a pattern for such; may be repeated; all that have the key")
	flags.StringVar(&f.key, "key", "KEY_RESTART", "the button's key")
	flags.DurationVar(&f.hold, "hold", 5*time.Second, "how long it has to be held")
	flags.StringVar(&f.led, "led", "", "the light `NAME` of /sys/class/leds that shows it")
	flags.StringVar(&f.exec, "exec", "", "run `COMMAND` in place of a reset and a reboot")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "print failures only")
	return cmd
}

func runButton(ctx context.Context, out *printer, f buttonFlags) error {
	key, err := button.ParseKey(f.key)
	if err != nil {
		return err
	}
	opts := button.Options{Devices: f.devices, Key: key, Hold: f.hold, Note: out.note}
	if f.led != "" {
		if opts.LED, err = button.OpenLED(f.led); err != nil {
			out.note(err.Error()) // a reset without a light is better than none
		}
	}
	for {
		err := button.Watch(ctx, opts)
		if errors.Is(err, context.Canceled) {
			return nil
		}
		if err != nil {
			return err
		}
		out.note("the button was held for " + f.hold.String())
		if f.exec != "" {
			err = runProgram([]string{"/bin/sh", "-c", f.exec})
		} else {
			err = runResetRequest(ctx, out, &requestFlags{yes: true, reboot: true, by: "button"}, nil, nil)
		}
		if err != nil {
			out.fatal(err) // the next press may do
		}
		if !out.flush() {
			return &failedError{}
		}
	}
}
