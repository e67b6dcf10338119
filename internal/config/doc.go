// SPDX-License-Identifier: Apache-2.0

// Package config reads how a device wants to be treated: ovl-restore.toml and
// the drop-in directories of the image (/usr/lib/ovl-restore) and of the
// device's owner (/etc/ovl-restore).
//
// Reading is strict. A key that is misspelt on a device that nobody can reach
// would otherwise do nothing, for years, in silence.
package config
