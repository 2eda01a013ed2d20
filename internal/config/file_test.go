package config_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/leadrelay/leadrelay/internal/config"
)

// opened is a file in a folder of its own, and where it keeps its versions.
func opened(t *testing.T, text string) (file *config.File, path, keep string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	keep = filepath.Join(t.TempDir(), "data", "config-versions")
	return config.OpenFile(path, keep), path, keep
}

// save replaces what the file holds now.
func save(t *testing.T, file *config.File, text, who string) {
	t.Helper()
	_, rev, err := file.Read()
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Save([]byte(text), rev, who); err != nil {
		t.Fatal(err)
	}
}

func holds(t *testing.T, path, want string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil || string(text) != want {
		t.Errorf("%s holds %q, %v; want %q", filepath.Base(path), text, err, want)
	}
}

func TestASaveKeepsWhatTheFileHeld(t *testing.T) {
	first := "\ufeffa: 1\r\n# no end"
	file, path, keep := opened(t, first)
	if versions, err := file.Versions(); len(versions) != 0 || err != nil {
		t.Errorf("got %v, %v", versions, err)
	}
	if _, err := os.Stat(keep); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("before the first change there is a folder: %v", err)
	}
	save(t, file, "a: 2\n", "anna \"x\"\nb")
	save(t, file, "a: 3\n", "bert")
	holds(t, path, "a: 3\n")

	versions, err := file.Versions()
	if err != nil || len(versions) != 2 {
		t.Fatalf("got %v, %v", versions, err)
	}
	for i, want := range []struct{ text, who string }{{"a: 2\n", "bert"}, {first, "anna \"x\"\nb"}} {
		text, err := file.Version(versions[i].ID)
		if err != nil || string(text) != want.text || versions[i].Who != want.who {
			t.Errorf("version %d is %q by %q, %v", i, text, versions[i].Who, err)
		}
		if c, err := config.LoadText(text, path, nil); err == nil && c.Revision != versions[i].Revision {
			t.Errorf("version %d is of revision %s, want %s", i, versions[i].Revision, c.Revision)
		}
	}
	if !versions[0].At.After(versions[1].At) {
		t.Errorf("the newer is of %v, the older of %v", versions[0].At, versions[1].At)
	}

	// Back to the first.
	text, _ := file.Version(versions[1].ID)
	save(t, file, string(text), "anna")
	holds(t, path, first)
	if versions, _ := file.Versions(); len(versions) != 3 {
		t.Errorf("there are %d versions, want 3", len(versions))
	}
	save(t, file, first, "anna") // nothing changes
	if versions, _ := file.Versions(); len(versions) != 3 {
		t.Errorf("there are %d versions, want 3", len(versions))
	}

	for path, mode := range map[string]os.FileMode{path: 0o640, keep: 0o700, filepath.Join(keep, versions[0].ID+".yaml"): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s has mode %v, %v; want %v", filepath.Base(path), info.Mode(), err, mode)
		}
	}
}

func TestASaveGivesWayToWhoChangedTheFileMeanwhile(t *testing.T) {
	file, path, _ := opened(t, "a: 1\n")
	_, rev, _ := file.Read()
	if err := os.WriteFile(path, []byte("a: by hand\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := file.Save([]byte("a: 2\n"), rev, "anna"); !errors.Is(err, config.ErrChanged) {
		t.Errorf("got %v", err)
	}
	holds(t, path, "a: by hand\n")
	if versions, err := file.Versions(); len(versions) != 0 || err != nil {
		t.Errorf("got %v, %v", versions, err)
	}
}

// Of many who change the same text at once, in one process and in others, one does.
func TestOneOfManySavesOfARevisionIsMade(t *testing.T) {
	file, path, keep := opened(t, "a: 0\n")
	for round := range 10 {
		_, rev, _ := file.Read()
		before, _ := os.ReadFile(path)
		results := make(chan string, 8)
		var all sync.WaitGroup
		for i := range cap(results) {
			other := file
			if i%2 == 1 {
				other = config.OpenFile(path, keep)
			}
			all.Go(func() {
				text := fmt.Sprintf("a: %d.%d\n", round, i)
				switch err := other.Save([]byte(text), rev, "anna"); {
				case err == nil:
					results <- text
				case !errors.Is(err, config.ErrChanged):
					t.Error(err)
				}
			})
		}
		all.Wait()
		close(results)
		if len(results) != 1 {
			t.Fatalf("%d of them were made", len(results))
		}
		holds(t, path, <-results)
		versions, err := file.Versions()
		if err != nil || len(versions) != round+1 {
			t.Fatalf("got %v, %v", versions, err)
		}
		if text, _ := file.Version(versions[0].ID); !bytes.Equal(text, before) {
			t.Errorf("kept %q, want %q", text, before)
		}
	}
}

func TestOldVersionsAreRemoved(t *testing.T) {
	file, _, keep := opened(t, "a: 0\n")
	os.MkdirAll(keep, 0o700)
	unfinished := filepath.Join(keep, ".20260101T000000.000000000Z-0123456789ab.yaml.tmp")
	stranger := filepath.Join(keep, "notes.txt")
	os.WriteFile(unfinished, []byte("a: half"), 0o600)
	os.WriteFile(stranger, []byte("mine"), 0o600)
	for i := range 60 {
		save(t, file, fmt.Sprintf("a: %d\n", i+1), "anna")
	}
	versions, err := file.Versions()
	if err != nil || len(versions) != 50 {
		t.Fatalf("there are %d versions, %v", len(versions), err)
	}
	for i, version := range versions {
		if text, err := file.Version(version.ID); string(text) != fmt.Sprintf("a: %d\n", 59-i) {
			t.Errorf("version %d is %q, %v", i, text, err)
		}
	}
	if _, err := os.Stat(unfinished); !errors.Is(err, os.ErrNotExist) {
		t.Error("what a crash left is there")
	}
	if _, err := os.Stat(stranger); err != nil {
		t.Error(err)
	}
}

func TestAVersionIsNamedByItsIDAlone(t *testing.T) {
	file, path, keep := opened(t, "a: 0\n")
	save(t, file, "a: 1\n", "anna")
	versions, _ := file.Versions()
	id := versions[0].ID
	for _, id := range []string{"", "../config", "../../" + filepath.Base(filepath.Dir(path)) + "/config", id + "/", id + ".yaml", id[:len(id)-1] + "x", "20260101T000000.000000000Z-0123456789ab"} {
		if text, err := file.Version(id); !errors.Is(err, config.ErrNoVersion) {
			t.Errorf("%q: got %q, %v", id, text, err)
		}
	}
	// One that is not what its name says is none.
	damaged := filepath.Join(keep, id+".yaml")
	whole, _ := os.ReadFile(damaged)
	os.WriteFile(damaged, whole[:len(whole)-2], 0o600)
	if versions, err := file.Versions(); len(versions) != 0 || err != nil {
		t.Errorf("got %v, %v", versions, err)
	}
}

// A clock that was set back does not put a change before those that it followed.
func TestVersionsAreInTheOrderOfTheChanges(t *testing.T) {
	file, _, keep := opened(t, "a: 0\n")
	save(t, file, "a: 1\n", "anna")
	versions, _ := file.Versions()
	future := "29991231T235959.000000000Z-" + versions[0].Revision
	if err := os.Rename(filepath.Join(keep, versions[0].ID+".yaml"), filepath.Join(keep, future+".yaml")); err != nil {
		t.Fatal(err)
	}
	save(t, file, "a: 2\n", "bert")
	versions, err := file.Versions()
	if err != nil || len(versions) != 2 || versions[0].Who != "bert" || versions[1].ID != future {
		t.Errorf("got %v, %v", versions, err)
	}
}

func TestASaveFollowsLinks(t *testing.T) {
	file, path, keep := opened(t, "a: 0\n")
	link := filepath.Join(t.TempDir(), "link.yaml")
	if err := os.Symlink(path, link); err != nil {
		t.Skip(err)
	}
	linked := config.OpenFile(link, keep)
	save(t, linked, "a: 1\n", "anna")
	holds(t, path, "a: 1\n")
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is %v, %v", info.Mode(), err)
	}
	save(t, file, "a: 2\n", "anna")
	holds(t, link, "a: 2\n")
}

func TestAFileThatIsNoneCannotBeSaved(t *testing.T) {
	folder := t.TempDir()
	for _, path := range []string{filepath.Join(folder, "missing.yaml"), folder, os.DevNull} {
		file := config.OpenFile(path, filepath.Join(folder, "keep"))
		if file.Writable() {
			t.Errorf("%s: it is writable", path)
		}
		if err := file.Save([]byte("a: 1\n"), "", "anna"); err == nil || !strings.Contains(err.Error(), "cannot be written: apply the change by hand") {
			t.Errorf("%s: got %v", path, err)
		}
	}
}

func TestADraftIsRefusedAsTheFileWouldBe(t *testing.T) {
	environ(t)
	path := write(t, "listen: nowhere\nconnectors:\n  - {name: a, type: sheeet}\n")
	text, _ := os.ReadFile(path)
	_, want := config.Load(path, kinds(nil))
	_, got := config.LoadText(text, path, kinds(nil))
	if want == nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	draft, err := config.LoadText([]byte("listen: 127.0.0.1:1\n"), path, kinds(nil))
	if err != nil || draft.Listen != "127.0.0.1:1" || draft.Path != path {
		t.Errorf("got %v, %v", draft, err)
	}
}
