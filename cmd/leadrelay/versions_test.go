package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/leadrelay/leadrelay/internal/config"
)

func TestConfigShowsWhatWasAndGoesBack(t *testing.T) {
	folder := t.TempDir()
	path, data := filepath.Join(folder, "config.yaml"), filepath.Join(folder, "data")
	first := "data_dir: " + data + "\n# mine\nredis: {url: redis://:s3cret@localhost:6379}\nconnectors:\n  - {name: sheet, type: csv, settings: {path: a.csv}}\n"
	second := strings.NewReplacer("s3cret", "s3cret2", "a.csv", "b.csv").Replace(first)
	if err := os.WriteFile(path, []byte(first), 0o600); err != nil {
		t.Fatal(err)
	}
	succeeds := func(args ...string) string {
		t.Helper()
		code, out, errs := outcome(append([]string{"config", "--config", path}, args...)...)
		if code != 0 || strings.Contains(out+errs, "s3cret") {
			t.Fatalf("%v: %d %s %s", args, code, out, errs)
		}
		return out
	}
	fails := func(want string, args ...string) {
		t.Helper()
		code, out, errs := outcome(append([]string{"config", "--config", path}, args...)...)
		if code == 0 || !strings.Contains(errs, want) || strings.Contains(out+errs, "s3cret") {
			t.Errorf("%v: %d %s %s; want %q", args, code, out, errs, want)
		}
	}
	if out := succeeds("history"); out != "the program has not changed it\n" {
		t.Errorf("got %q", out)
	}
	fails("no version to compare with", "diff")

	file := config.OpenFile(path, config.VersionsIn(data))
	_, revision, err := file.Read()
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Save([]byte(second), revision, "anna"); err != nil {
		t.Fatal(err)
	}
	var listed []struct{ ID, Who, Revision string }
	if err := json.Unmarshal([]byte(succeeds("history", "--json")), &listed); err != nil || len(listed) != 1 || listed[0].Who != "anna" || listed[0].Revision != revision {
		t.Fatalf("got %v, %v", listed, err)
	}
	id := listed[0].ID
	if out := succeeds("history"); !strings.Contains(out, "VERSION") || !strings.Contains(out, id) || !strings.Contains(out, "anna") {
		t.Errorf("got %s", out)
	}
	if out, want := succeeds("show", id), strings.Replace(first, "redis://:s3cret@localhost:6379", "••••", 1); out != want {
		t.Errorf("got %s", out)
	}
	if _, out, _ := outcome("config", "--config", path, "show", "--secrets", id); out != first {
		t.Errorf("got %s", out)
	}
	for _, args := range [][]string{{"diff"}, {"diff", id}} {
		out := succeeds(args...)
		for _, want := range []string{"-redis: {url: ••••}\n", "+redis: {url: •••• (new)}\n", "-  - {name: sheet, type: csv, settings: {path: a.csv}}\n", "\n # mine\n"} {
			if !strings.Contains(out, want) {
				t.Errorf("%v lacks %q:\n%s", args, want, out)
			}
		}
	}

	succeeds("restore", id)
	if text, _ := os.ReadFile(path); string(text) != first {
		t.Errorf("the file holds %s", text)
	}
	if versions, err := file.Versions(); err != nil || len(versions) != 2 || !strings.HasSuffix(versions[0].Who, "the command line") {
		t.Errorf("got %v, %v", versions, err)
	}

	// A file that is broken tells nothing of its folder.
	if err := os.WriteFile(path, []byte("data_dir: ["), 0o600); err != nil {
		t.Fatal(err)
	}
	fails("name its data_dir by --data-dir", "restore", id)
	succeeds("restore", id, "--data-dir", data)
	if text, _ := os.ReadFile(path); string(text) != first {
		t.Errorf("the file holds %s", text)
	}

	// What would be refused is not restored.
	versions, err := file.Versions()
	if err != nil {
		t.Fatal(err)
	}
	fails("is not restored", "restore", versions[0].ID)
	fails("there is no such version", "restore", "../config.yaml")
	fails("there are history, show, diff and restore", "undo")
	fails("say what: history, show, diff or restore")
}
