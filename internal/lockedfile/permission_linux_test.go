package lockedfile

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/leadrelay/leadrelay/connectors"
)

// asNobody takes root's rights to files from the test, where it has them.
func asNobody(t *testing.T) {
	if os.Geteuid() != 0 {
		return
	}
	runtime.LockOSThread()
	const nobody = 65534
	if err := syscall.Setfsuid(nobody); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Setfsuid(0)
		runtime.UnlockOSThread()
	})
}

func TestNoPermissionIsASetupFault(t *testing.T) {
	for name, modes := range map[string][2]os.FileMode{
		"a folder that may not be written":   {0o500, 0o600},
		"a folder that may not be read":      {0o300, 0o600},
		"a folder that may not be entered":   {0o000, 0o600},
		"a file that may not be written":     {0o700, 0o400},
		"a file that may not even be read":   {0o700, 0o000},
		"a file that may only be written to": {0o700, 0o200},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			f := New(path)
			if err := replace(f, "before"); err != nil {
				t.Fatal(err)
			}
			os.Remove(path + ".lock")
			os.Chmod(path, modes[1])
			os.Chmod(filepath.Dir(path), modes[0])
			if os.Geteuid() == 0 {
				os.Chown(path, 65534, -1)
				os.Chown(filepath.Dir(path), 65534, -1)
				os.Chmod(filepath.Dir(filepath.Dir(path)), 0o755)
			}
			asNobody(t)
			appended := f.Write(context.Background(), true, func(held *Held) error {
				file, _, err := held.Open()
				if err == nil {
					defer file.Close()
					_, err = file.WriteString("more")
				}
				return err
			})
			for doing, err := range map[string]error{"append": appended, "replace": replace(f, "after")} {
				if err == nil {
					t.Errorf("%s: no error", doing)
				} else if fault, _ := connectors.FaultOf(err); fault != connectors.Setup || !strings.Contains(err.Error(), "permission denied") {
					t.Errorf("%s: got a %v fault %q", doing, fault, err)
				}
			}
			os.Chmod(filepath.Dir(path), 0o700)
			os.Chmod(path, 0o600)
			wantContent(t, path, "before") // a setup fault promises it
		})
	}
}
