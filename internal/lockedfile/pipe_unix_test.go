//go:build unix

package lockedfile

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/leadrelay/leadrelay/connectors"
)

func TestPipeIsNoFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f := New(path)
	_, checked := f.Check()
	for _, err := range []error{replace(f, "content"), checked} {
		if err == nil {
			t.Error("no error")
		} else if fault, _ := connectors.FaultOf(err); fault != connectors.Setup || !strings.Contains(err.Error(), "not a regular file") {
			t.Errorf("got a %v fault %q", fault, err)
		}
	}
}
