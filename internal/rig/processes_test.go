package rig

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/leadrelay/leadrelay/internal/redistest"
)

// build makes the real program, once for all tests, and returns its path. overlay is go build's -overlay file, for
// a program with some source files replaced; "" for the program as it is.
func build(t *testing.T, overlay string) string {
	t.Helper()
	if overlay == "" {
		program, err := plainProgram()
		if err != nil {
			t.Fatal(err)
		}
		return program
	}
	program := filepath.Join(t.TempDir(), "leadrelay")
	if err := goBuild(program, "-overlay", overlay); err != nil {
		t.Fatal(err)
	}
	return program
}

var plainProgram = sync.OnceValues(func() (string, error) {
	program := filepath.Join(builds, "leadrelay")
	return program, goBuild(program)
})

// builds is the folder of programs built once, removed by TestMain.
var builds string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if builds, err = os.MkdirTemp("", "rig-build"); err != nil {
			panic(err)
		}
		defer os.RemoveAll(builds)
		return m.Run()
	}())
}

const module = "github.com/leadrelay/leadrelay"

func goBuild(program string, args ...string) error {
	args = append([]string{"build", "-o", program}, args...)
	if *race {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, module+"/cmd/leadrelay")...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("go %v: %w\n%s", args, err, out)
	}
	return nil
}

type process = redistest.Process

var within = redistest.Within
