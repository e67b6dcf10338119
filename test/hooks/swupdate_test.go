// SPDX-License-Identifier: Apache-2.0

package hooks

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSWUpdate installs a signed update with the real swupdate.
func TestSWUpdate(t *testing.T) {
	need(t, "swupdate=swupdate", "cpio=cpio", "openssl=openssl")
	d := newDevice(t)
	hook := d.hook("swupdate/ovl-restore.sh")

	// The hook in the update itself.
	script, err := os.ReadFile(hook)
	if err != nil {
		t.Fatal(err)
	}
	with := bundle(t, "ovl-restore.sh", string(script))
	out := swupdate(t, with)
	for _, when := range []string{"preinst", "postinst"} {
		if !strings.Contains(out, "ovl-restore.sh "+when+"  command returned 0") {
			t.Errorf("swupdate did not run the hook's %s:\n%s", when, out)
		}
	}
	d.wantBaseline(t)

	// On the device, for every update: --postupdate hands it to the shell. (The
	// swupdate of Debian 12 fails now and then after it has installed with that.)
	run(t, "/", "sh", "-c", hook)
	d.wantBaseline(t)

	// An image without the tool is updated all the same.
	t.Setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
	swupdate(t, with)
	run(t, "/", "sh", "-c", hook)
}

// bundle makes an update that holds nothing but a script, in a directory of its
// own, with the certificate that it is signed with.
func bundle(t *testing.T, name, script string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	write(t, filepath.Join(dir, name), script, 0o755)
	write(t, filepath.Join(dir, "sw-description"), fmt.Sprintf(`software = {
		version = "2";
		hardware-compatibility: [ "1" ];
		scripts: ( { filename = %q; type = "shellscript"; sha256 = "%x"; } );
	}`, name, sha256.Sum256([]byte(script))), 0o644)
	run(t, dir, "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "7", "-subj", "/CN=test",
		"-keyout", "key.pem", "-out", "cert.pem")
	run(t, dir, "openssl", "cms", "-sign", "-in", "sw-description", "-out", "sw-description.sig",
		"-signer", "cert.pem", "-inkey", "key.pem", "-outform", "DER", "-nosmimecap", "-binary")
	run(t, dir, "sh", "-c", "printf '%s\n' sw-description sw-description.sig "+name+" | cpio -o -H crc >update.swu")
	return dir
}

func swupdate(t *testing.T, dir string) string {
	t.Helper()
	return run(t, dir, "swupdate", "-v", "-H", "test:1", "-k", "cert.pem", "-i", "update.swu")
}
