package config_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/leadrelay/leadrelay/internal/config"
)

// asNobody takes root's rights to files from the test, where it has them; what is in folder is nobody's then.
func asNobody(t *testing.T, folders ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	const nobody = 65534
	for _, folder := range folders {
		os.Chmod(filepath.Dir(folder), 0o755)
		filepath.WalkDir(folder, func(path string, _ os.DirEntry, _ error) error { return os.Chown(path, nobody, nobody) })
	}
	runtime.LockOSThread()
	if err := syscall.Setfsuid(nobody); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Setfsuid(0)
		runtime.UnlockOSThread()
	})
}

func TestAFileInAFolderThatMayNotBeWrittenIsWrittenInPlace(t *testing.T) {
	for name, text := range map[string]string{"longer": "a: 1\nb: 2\nc: 3\n", "shorter": "a:\n"} {
		t.Run(name, func(t *testing.T) {
			_, path, _ := opened(t, "a: 0\n")
			keep := t.TempDir()
			file := config.OpenFile(path, filepath.Join(keep, "versions"))
			os.Chmod(filepath.Dir(path), 0o500)
			asNobody(t, filepath.Dir(path), keep)
			before, _ := os.Stat(path)
			if !file.Writable() {
				t.Error("it is not writable")
			}
			save(t, file, text, "anna")
			holds(t, path, text)
			if after, _ := os.Stat(path); !os.SameFile(before, after) {
				t.Error("it is another file")
			}
			if versions, err := file.Versions(); len(versions) != 1 || err != nil {
				t.Errorf("got %v, %v", versions, err)
			}
		})
	}
}

func TestAFileThatMayNotBeWrittenIsLeftAlone(t *testing.T) {
	_, path, _ := opened(t, "a: 0\n")
	keep := t.TempDir()
	file := config.OpenFile(path, filepath.Join(keep, "versions"))
	os.Chmod(path, 0o400)
	asNobody(t, filepath.Dir(path), keep)
	_, rev, err := file.Read()
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Save([]byte("a: 1\n"), rev, "anna"); file.Writable() || err == nil {
		t.Errorf("got %v", err)
	}
	holds(t, path, "a: 0\n")
}

func TestNothingIsSavedWhereNoVersionCanBeKept(t *testing.T) {
	_, path, _ := opened(t, "a: 0\n")
	keep := filepath.Join(t.TempDir(), "versions")
	os.Mkdir(keep, 0o500)
	file := config.OpenFile(path, keep)
	asNobody(t, filepath.Dir(path), keep)
	_, rev, _ := file.Read()
	if err := file.Save([]byte("a: 1\n"), rev, "anna"); !errors.Is(err, os.ErrPermission) {
		t.Errorf("got %v", err)
	}
	holds(t, path, "a: 0\n")
}

const saverOf = "LEADRELAY_TEST_SAVES"

// TestMain makes of the test a program that saves until it is killed, where a test asks for that.
func TestMain(m *testing.M) {
	if path := os.Getenv(saverOf); path != "" {
		file := config.OpenFile(path, path+"-versions")
		for i := 0; ; i++ {
			text, rev, err := file.Read()
			if err == nil {
				fmt.Println(i)
				err = file.Save([]byte(textOfSave(numberOfSave(string(text))+1)), rev, "saver")
			}
			if err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
		}
	}
	os.Exit(m.Run())
}

func textOfSave(n int) string {
	return fmt.Sprintf("n: %d\n%send: %d\n", n, strings.Repeat("# x\n", 5000), n)
}

func numberOfSave(text string) (n int) {
	fmt.Sscanf(text, "n: %d", &n)
	return n
}

func TestASaverThatIsKilledLeavesAWholeFileAndItsVersions(t *testing.T) {
	_, path, _ := opened(t, textOfSave(0))
	file := config.OpenFile(path, path+"-versions")
	for kill := range 25 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), saverOf+"="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for range kill%4 + 1 {
			if !lines.Scan() {
				t.Fatal("the saver ended by itself")
			}
		}
		cmd.Process.Kill()
		cmd.Wait()

		text, _, err := file.Read()
		if n := numberOfSave(string(text)); err != nil || string(text) != textOfSave(n) {
			t.Fatalf("the file holds a part: %d bytes, %v", len(text), err)
		}
		versions, err := file.Versions()
		if err != nil {
			t.Fatal(err)
		}
		after := numberOfSave(string(text))
		for i, version := range versions {
			text, err := file.Version(version.ID)
			n := numberOfSave(string(text))
			begun := i == 0 && n == after // it was kept, and the change not made any more
			if err != nil || string(text) != textOfSave(n) || n != after-1 && !begun {
				t.Fatalf("version %d before %d: %v", n, after, err)
			}
			after = n
		}
	}
}
