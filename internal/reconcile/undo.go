// SPDX-License-Identifier: Apache-2.0

package reconcile

import "context"

func (r *run) resume(context.Context) error                       { return nil }
func (r *run) rollback() ([]string, error)                        { return nil, nil }
func (r *run) pathsOf(string, map[string]bool) error              { return nil }
func (r *run) undoLater(context.Context) (map[string]bool, error) { return nil, nil }
