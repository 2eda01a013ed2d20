package config_test

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/internal/config"
)

// watched is a file that is watched; its changes are told by what it then holds.
func watched(t *testing.T, path string) (told <-chan string, ask chan<- os.Signal) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	texts, asked, ended := make(chan string, 100), make(chan os.Signal), make(chan struct{})
	go func() {
		defer close(ended)
		config.Watch(ctx, path, "", asked, func() {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Error(err)
			}
			texts <- string(text)
		})
	}()
	t.Cleanup(func() { cancel(); <-ended })
	// It has looked at the file first when it has answered.
	asked <- syscall.SIGHUP
	next(t, texts)
	return texts, asked
}

func next(t *testing.T, told <-chan string) string {
	t.Helper()
	select {
	case text := <-told:
		return text
	case <-time.After(time.Minute):
		t.Fatal("a change is not told")
		return ""
	}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestP8AChangeIsSeenHoweverTheFileIsReplaced(t *testing.T) {
	for name, replace := range map[string]func(t *testing.T, path, text string){
		"written in place": put,
		"renamed over it, as vim and most editors do": func(t *testing.T, path, text string) {
			put(t, path+".swp", text)
			must(t, os.Rename(path+".swp", path))
		},
		"moved away first, for a backup": func(t *testing.T, path, text string) {
			must(t, os.Rename(path, path+"~"))
			put(t, path, text)
		},
		"removed and written": func(t *testing.T, path, text string) {
			must(t, os.Remove(path))
			put(t, path, text)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "config.yaml")
			put(t, path, "first")
			told, _ := watched(t, path)
			for _, text := range []string{"other", "third", "other"} { // of one length, and back
				replace(t, path, text)
				if got := next(t, told); got != text {
					t.Errorf("got %q, want %q", got, text)
				}
			}
		})
	}
}

func TestP8AChangeBeforeTheFileIsWatchedIsSeen(t *testing.T) {
	t.Parallel()
	path := write(t, "listen: 127.0.0.1:1")
	c := load(t, path)
	put(t, path, "listen: 127.0.0.1:2")
	ctx, cancel := context.WithCancel(t.Context())
	times := 0
	config.Watch(ctx, path, c.Revision, nil, func() { times++; cancel() })
	if times != 1 {
		t.Errorf("it was told %d times", times)
	}
}

func TestP8AKubernetesConfigMapIsSeen(t *testing.T) {
	t.Parallel()
	// config.yaml → ..data/config.yaml, ..data → ..N: an update is a rename of ..data alone.
	folder := t.TempDir()
	path := filepath.Join(folder, "config.yaml")
	generation := func(name, text string) {
		must(t, os.Mkdir(filepath.Join(folder, name), 0o700))
		put(t, filepath.Join(folder, name, "config.yaml"), text)
		must(t, os.Symlink(name, filepath.Join(folder, "..data_tmp")))
		must(t, os.Rename(filepath.Join(folder, "..data_tmp"), filepath.Join(folder, "..data")))
	}
	generation("..1", "first")
	must(t, os.Symlink(filepath.Join("..data", "config.yaml"), path))
	told, _ := watched(t, path)
	for i, text := range []string{"other", "third"} {
		generation([]string{"..2", "..3"}[i], text)
		must(t, os.RemoveAll(filepath.Join(folder, []string{"..1", "..2"}[i])))
		if got := next(t, told); got != text {
			t.Errorf("got %q, want %q", got, text)
		}
	}
}

// A file that is being written is read when nobody writes it any more.
func TestP8AHalfWrittenFileIsNotRead(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config.yaml")
	put(t, path, "old")
	told, _ := watched(t, path)
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	must(t, err)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	want := ""
	for range 15 {
		<-tick.C
		_, err := file.WriteString("part\n")
		must(t, err)
		want += "part\n"
	}
	must(t, file.Close())
	if got := next(t, told); got != want {
		t.Errorf("got %q, want the whole", got)
	}
}

func TestASignalReadsTheFileThatDidNotChange(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config.yaml")
	put(t, path, "same")
	told, ask := watched(t, path)
	ask <- syscall.SIGHUP
	if got := next(t, told); got != "same" {
		t.Errorf("got %q", got)
	}
}
