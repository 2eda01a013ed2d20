package xlsx

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
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
			path := newPath(t)
			c := sheetOf(t, path, nil)
			push(t, c, create(1))
			before := read(t, path)
			os.Remove(path + ".lock")
			os.Chmod(path, modes[1])
			os.Chmod(filepath.Dir(path), modes[0])
			if os.Geteuid() == 0 {
				os.Chown(path, 65534, -1)
				os.Chown(filepath.Dir(path), 65534, -1)
				os.Chmod(filepath.Dir(filepath.Dir(path)), 0o755)
			}
			asNobody(t)
			for _, change := range []lead.Change{create(2), update(1)} {
				_, err := c.Push(context.Background(), change, "")
				wantFault(t, err, connectors.Setup, "permission denied")
			}
			os.Chmod(filepath.Dir(path), 0o700)
			os.Chmod(path, 0o600)
			if read(t, path) != before {
				t.Error("it was written, although a setup fault promises that it is not")
			}
		})
	}
}
