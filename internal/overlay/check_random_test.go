// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ovl-restore/ovl-restore/test/namespace"
)

// Whatever is done through a mounted overlay leaves nothing to find, mounted or
// not, but that a file may stand where the image has a directory.
func TestCheckFindsNothingInRandomTrees(t *testing.T) {
	seed := *oracleSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("to repeat: -run %s -oracle.seed=%d", t.Name(), seed)
	for _, options := range []string{
		"", "userxattr", "redirect_dir=on", "redirect_dir=on,metacopy=on", "redirect_dir=on,index=on", "metacopy=on",
	} {
		for lowers := 1; lowers <= 3; lowers++ {
			if testing.Short() && lowers == 2 {
				continue // between the others
			}
			t.Run(fmt.Sprintf("%s/%d", strings.ReplaceAll(options, ",", "+"), lowers), func(t *testing.T) {
				if options != "" && options != "userxattr" {
					needTrusted(t)
				}
				checkRandomTrees(t, rand.New(rand.NewPCG(seed, uint64(lowers))), options, lowers)
			})
		}
	}
}

func checkRandomTrees(t *testing.T, r *rand.Rand, options string, lowers int) {
	dir := namespace.Disk(t)
	layers := []string{filepath.Join(dir, "layer0")}
	if err := os.Mkdir(layers[0], 0o755); err != nil {
		t.Fatal(err)
	}
	w := &worker{r: r, root: layers[0]}
	for range 150 {
		w.step()
	}
	for i := range lowers {
		over := filepath.Join(dir, fmt.Sprint("over", i))
		if err := os.Mkdir(over, 0o755); err != nil {
			t.Fatal(err)
		}
		s := &stage{t: t, Overlay: namespace.NewOverlayIn(t, over)}
		s.userxattr = strings.Contains(options, "userxattr") || !namespace.Privileged()
		mount := slices.DeleteFunc(strings.Split(options, ","), func(o string) bool { return o == "" || o == "userxattr" })
		mount = append(mount, "lowerdir="+strings.Join(layers, ":"))
		s.mount(mount...)
		w.root = s.Merged
		rounds := 5
		if testing.Short() {
			rounds = 2
		}
		for range rounds {
			for range 60 {
				w.step()
			}
			wantClean(t, "mounted", s.check())
			s.Unmount(t)
			wantClean(t, "unmounted", checkLayers(t, s, layers))
			if t.Failed() {
				t.FailNow()
			}
			s.mount(mount...)
		}
		s.Unmount(t)
		layers = append([]string{s.Upper}, layers...)
	}
}

func checkLayers(t *testing.T, s *stage, lowers []string) []Finding {
	t.Helper()
	u, err := OpenUnmounted(Directories{Upper: s.Upper, Lowers: lowers, Work: s.Work}, LayerOptions{UserXattr: s.userxattr})
	if err != nil {
		t.Fatal(err)
	}
	findings, err := u.Check(context.Background(), CheckOptions{})
	if err := errors.Join(err, u.Close()); err != nil {
		t.Fatal(err)
	}
	return findings
}

func wantClean(t *testing.T, how string, findings []Finding) {
	t.Helper()
	for _, f := range findings {
		if f.Code != FileOverDirectory {
			t.Errorf("%s: %+v", how, f)
		}
	}
}
