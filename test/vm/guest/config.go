// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/ovl-restore/ovl-restore/test/vm/wire"
)

func readConfig() (*wire.Config, error) {
	b, err := os.ReadFile(wire.ConfigPath)
	if err != nil {
		return nil, fmt.Errorf("read the guest's configuration: %w", err)
	}
	var c wire.Config
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, fmt.Errorf("parse %s: %w", wire.ConfigPath, err)
	}
	return &c, nil
}
