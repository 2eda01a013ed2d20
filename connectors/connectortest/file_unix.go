//go:build linux || darwin

package connectortest

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// fillDisk pushes where no file may grow past limit bytes, the nearest thing to a full disk, and prints the faults.
func fillDisk(t testing.TB, c connectors.Connector, limit int) {
	signal.Ignore(syscall.SIGXFSZ)
	size := syscall.Rlimit{Cur: uint64(limit), Max: uint64(limit)}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &size); err != nil {
		t.Fatal(err)
	}
	longer := update(1)
	longer.Lead.Note = strings.Repeat("A long story. ", 20) // than any room a test leaves
	for _, change := range []lead.Change{create(3), longer} {
		_, err := c.Push(context.Background(), change, "")
		fault, _ := connectors.FaultOf(err)
		fmt.Println(fault, errors.Is(err, syscall.EFBIG))
	}
}

func (f File) fullDisk(t *testing.T, test string) {
	path := f.NewPath(t)
	PushAll(t, f.Open(t, path, nil), create(1), create(2))
	before := readFile(t, path)
	for _, room := range f.Room(len(before)) {
		out, err := job(t, test, "full", path, room, 0).Output()
		if err != nil {
			t.Fatal(err)
		}
		if want := "remote true\nremote true\n"; string(out) != want {
			t.Errorf("with room for %d bytes, of which %d are taken: got %q, want %q", room, len(before), out, want)
		}
		if readFile(t, path) != before || !missing(unfinishedFile(path)) {
			t.Errorf("with room for %d bytes: the file is another, or an unfinished one is left", room)
		}
	}
}
