//go:build unix

package xlsx

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// job is this test program, run again as another process that does "name path from to".
func job(t testing.TB, name, path string, from, to int) *exec.Cmd {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-test.run=^TestJob$")
	cmd.Env = append(os.Environ(), fmt.Sprintf("XLSX_TEST_JOB=%s %d %d %s", name, from, to, path))
	cmd.Stderr = os.Stderr
	return cmd
}

// TestJob is what the other process does. It prints each id as soon as its push has returned.
func TestJob(t *testing.T) {
	text := os.Getenv("XLSX_TEST_JOB")
	if text == "" {
		return // this is not the other process
	}
	var name, path string
	var from, to int
	if _, err := fmt.Sscanf(text, "%s %d %d %s", &name, &from, &to, &path); err != nil {
		t.Fatal(err)
	}
	c := sheetOf(t, path, nil)
	switch name {
	case "mixed":
		for i := from; i < to; i++ {
			push(t, c, create(i))
			push(t, c, update(i))
			if i%3 == 0 {
				push(t, c, remove(i))
				continue
			}
			fmt.Println(id(i))
		}
	case "full":
		// A file that may not grow past from bytes is the nearest thing to a full disk.
		signal.Ignore(syscall.SIGXFSZ)
		limit := syscall.Rlimit{Cur: uint64(from), Max: uint64(from)}
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
			t.Fatal(err)
		}
		for _, change := range []lead.Change{create(to), update(1)} {
			_, err := c.Push(context.Background(), change, "")
			fault, _ := connectors.FaultOf(err)
			fmt.Println(fault, errors.Is(err, syscall.EFBIG))
		}
	}
	os.Exit(0) // without the summary that a test prints
}

func TestThreeProcessesWriteAtOnce(t *testing.T) {
	path := newPath(t)
	const each = 60
	var printed [3]strings.Builder
	var jobs []*exec.Cmd
	for i := range printed {
		cmd := job(t, "mixed", path, i*each, (i+1)*each)
		cmd.Stdout = &printed[i]
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		jobs = append(jobs, cmd)
	}
	var want []string
	for i, cmd := range jobs {
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		want = append(want, strings.Fields(printed[i].String())...)
	}
	got := ids(t, path)
	slices.Sort(got)
	slices.Sort(want)
	if len(want) != 3*each*2/3 || !slices.Equal(got, want) {
		t.Errorf("the file has %d leads, the processes wrote %d", len(got), len(want))
	}
}

func TestKilledProcessLosesNothingItReported(t *testing.T) {
	path := newPath(t)
	for round := range 5 {
		cmd := job(t, "mixed", path, round*1000, (round+1)*1000)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var reported []string
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			reported = append(reported, lines.Text())
			if len(reported) == 10+round {
				cmd.Process.Kill()
			}
		}
		cmd.Wait()
		push(t, sheetOf(t, path, nil), create(900_000+round)) // the lock is free, the file whole
		wantSound(t, path)
		if !missing(temporary(path)) {
			t.Errorf("round %d: an unfinished file is left", round)
		}
		held := ids(t, path)
		for _, l := range reported {
			if !slices.Contains(held, l) {
				t.Errorf("round %d: %s was reported as written and is not there", round, l)
			}
		}
	}
}

func TestFullDiskIsRemoteAndLeavesTheFileAsItWas(t *testing.T) {
	path := newPath(t)
	push(t, sheetOf(t, path, nil), create(1), create(2))
	before := read(t, path)
	for _, room := range []int{0, 100, len(before) - 100} {
		cmd := job(t, "full", path, room, 3)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		if want := "remote true\nremote true\n"; string(out) != want {
			t.Errorf("with room for %d bytes: got %q, want %q", room, out, want)
		}
		if read(t, path) != before || !missing(temporary(path)) {
			t.Errorf("with room for %d bytes: the file is another, or an unfinished one is left", room)
		}
	}
}

func TestPipeIsNoSheet(t *testing.T) {
	path := newPath(t)
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	c := sheetOf(t, path, nil)
	_, err := c.Push(context.Background(), create(1), "")
	wantFault(t, err, connectors.Setup, "not a regular file")
	wantFault(t, c.Check(context.Background()), connectors.Setup, "not a regular file")
}
