// SPDX-License-Identifier: Apache-2.0

package hooks

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestSWUpdate installs signed updates with the real swupdate: one that has the
// hook in it, and on a device that has it for every update.
func TestSWUpdate(t *testing.T) {
	d := newDevice(t)
	run(t, filepath.Join(d.root, "tools/need.sh"), "swupdate=swupdate", "cpio=cpio", "openssl=openssl")
	hook := d.hook("swupdate/ovl-restore.sh")

	script, err := os.ReadFile(hook)
	if err != nil {
		t.Fatal(err)
	}
	with := newBundle(t, "ovl-restore.sh", string(script))
	for range 2 {
		out, _ := with.install(t)
		for _, when := range []string{"preinst", "postinst"} {
			if !strings.Contains(out, "ovl-restore.sh "+when+"  command returned 0") {
				t.Errorf("swupdate did not run the hook's %s:\n%s", when, out)
			}
		}
		d.wantBaseline(t)
	}

	// On the device. The command is not run where swupdate ends too early.
	without := newBundle(t, "nothing.sh", "#!/bin/sh\nexit 0\n")
	done := false
	for try := 0; try < 20 && !done; try++ {
		_, done = without.install(t, "--postupdate", hook)
	}
	if !done {
		t.Error("swupdate never succeeded with --postupdate")
	}
	d.wantBaseline(t)

	// An image without the tool is updated all the same.
	t.Setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
	with.install(t)
	run(t, "sh", "-c", hook)
}

// bundle is a directory with an update that holds nothing but a script, and the
// certificate that it is signed with.
type bundle struct{ dir string }

func newBundle(t *testing.T, name, script string) bundle {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, name), script)
	write(t, filepath.Join(dir, "sw-description"), fmt.Sprintf(`software = {
		version = "2";
		hardware-compatibility: [ "1" ];
		scripts: ( { filename = %q; type = "shellscript"; sha256 = "%x"; } );
	}`, name, sha256.Sum256([]byte(script))))
	run(t, "sh", "-ec", `cd "$0"
		openssl req -x509 -newkey rsa:2048 -nodes -days 7 -subj /CN=test -keyout key.pem -out cert.pem
		openssl cms -sign -in sw-description -out sw-description.sig -signer cert.pem -inkey key.pem -outform DER -nosmimecap -binary
		printf '%s\n' sw-description sw-description.sig "$1" | cpio -o -H crc >update.swu`, dir, name)
	return bundle{dir}
}

// install installs the update, which must succeed by what swupdate's installer
// says; done tells whether swupdate's exit status says so, too. With -i, 2022.12 is
// a client of itself, which asks for the state again and again. Now and then it
// asks before the installer has begun, takes that for the end ("SWUpdate was
// successful !"), asks for the command after the update, is refused and exits with
// 1: after the installation, or in the middle of it, where it also removes what the
// installer is reading. That is repeated. It is alone in its network name space:
// another one would answer, too.
func (b bundle) install(t *testing.T, args ...string) (out string, done bool) {
	t.Helper()
	for try := 0; ; try++ {
		cmd := exec.Command("unshare", append([]string{"--net", "swupdate", "-v", "-H", "test:1", "-k", "cert.pem", "-i", "update.swu"}, args...)...)
		cmd.Dir = b.dir
		data, err := cmd.CombinedOutput()
		out := string(data)
		switch {
		case strings.Contains(out, "SWUPDATE successful !"):
			return out, err == nil
		case try < 20 && strings.Contains(out, "SWUpdate was successful !"):
		default:
			t.Fatalf("swupdate: %v\n%s", err, out)
		}
	}
}
