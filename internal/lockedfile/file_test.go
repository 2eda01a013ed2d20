package lockedfile

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/leadrelay/leadrelay/connectors"
)

func replaceWith(content string) func(*bufio.Writer) error {
	return func(w *bufio.Writer) error {
		_, err := w.WriteString(content)
		return err
	}
}

// replace puts content in the place of what is there.
func replace(f *File, content string) error {
	return f.Write(context.Background(), true, func(held *Held) error {
		old, info, err := held.Open()
		if err != nil {
			return err
		}
		if old != nil {
			old.Close()
		}
		_, err = held.Replace(info, replaceWith(content))
		return err
	})
}

func wantContent(t *testing.T, path, want string) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("the file holds %q, %v; want %q", got, err, want)
	}
	if !missing(temporary(path)) {
		t.Error("an unfinished file is left")
	}
}

func TestReplaceKeepsTheMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "file")
	f := New(path)
	for _, step := range []struct {
		content string
		mode    fs.FileMode
	}{{"first", 0o600}, {"second", 0o640}} {
		if err := replace(f, step.content); err != nil {
			t.Fatal(err)
		}
		wantContent(t, path, step.content)
		if info, _ := os.Stat(path); info.Mode().Perm() != step.mode {
			t.Errorf("the mode is %v, want %v", info.Mode().Perm(), step.mode)
		}
		os.Chmod(path, 0o640)
	}
}

func TestReplaceGivesWayToAnotherProgram(t *testing.T) {
	for name, meddle := range map[string]func(path string){
		"it wrote the file":        func(path string) { os.WriteFile(path, []byte("a person's"), 0o600) },
		"it renamed over the file": func(path string) { os.WriteFile(path+"~", []byte("a person's"), 0o600); os.Rename(path+"~", path) },
	} {
		for _, there := range []bool{true, false} {
			for _, failure := range []error{nil, errors.New("what was read is none any more")} {
				path := filepath.Join(t.TempDir(), "file")
				f := New(path)
				if there {
					if err := replace(f, "before"); err != nil {
						t.Fatal(err)
					}
				}
				err := f.Write(context.Background(), true, func(held *Held) error {
					old, info, err := held.Open()
					if err != nil {
						t.Fatal(err)
					}
					if old != nil {
						old.Close()
					}
					_, err = held.Replace(info, func(w *bufio.Writer) error {
						w.WriteString("ours")
						meddle(path)
						return failure
					})
					return err
				})
				if there || failure == nil {
					if !errors.Is(err, ErrReplaced) {
						t.Errorf("%s: got %v", name, err)
					}
				}
				wantContent(t, path, "a person's")
			}
		}
	}
}

// A second writer that got another lock, for the first one's file was deleted, does not spoil the first's.
func TestUnfinishedFileOfAnotherIsNotTakenForOurs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	err := New(path).Write(context.Background(), true, func(held *Held) error {
		_, err := held.Replace(nil, func(w *bufio.Writer) error {
			os.Remove(path + ".lock")
			os.Remove(temporary(path))
			return os.WriteFile(temporary(path), []byte("the other's"), 0o600)
		})
		return err
	})
	if !errors.Is(err, ErrReplaced) || !missing(path) {
		t.Errorf("got %v; the file is there: %v", err, !missing(path))
	}
}

func TestNothingIsMadeWhereNothingIsToBeWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "file")
	f := New(path)
	if err := f.Write(context.Background(), false, func(*Held) error { t.Error("it was called"); return nil }); err != nil {
		t.Error(err)
	}
	if file, err := f.Check(); file != nil || err != nil {
		t.Errorf("got %v, %v", file, err)
	}
	if !missing(filepath.Dir(path)) {
		t.Error("the folder was made")
	}
	// What a crash left goes, whoever comes.
	os.Mkdir(filepath.Dir(path), 0o700)
	os.WriteFile(temporary(path), []byte("everybody's data"), 0o600)
	if err := f.Write(context.Background(), false, func(*Held) error { t.Error("it was called"); return nil }); err != nil {
		t.Error(err)
	}
	if !missing(temporary(path)) {
		t.Error("the unfinished file is there")
	}
}

// outrun is a context that is over as soon as the lock is taken, as after a long pause of the process.
type outrun struct {
	context.Context
	path string
}

func (o outrun) Err() error {
	if missing(o.path + ".lock") {
		return nil
	}
	return context.DeadlineExceeded
}

func TestWriterThatIsOverdueWhenItGetsTheLockWritesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	err := New(path).Write(outrun{context.Background(), path}, true, func(*Held) error { t.Error("it was called"); return nil })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestFaultsOfTheSystem(t *testing.T) {
	want := func(err error, fault connectors.Fault, text string) {
		t.Helper()
		if got, _ := connectors.FaultOf(err); got != fault || !strings.Contains(err.Error(), text) {
			t.Errorf("got a %v fault %q, want a %v fault with %q", got, err, fault, text)
		}
	}
	for err, fault := range map[error]connectors.Fault{
		syscall.EACCES: connectors.Setup, syscall.EPERM: connectors.Setup, syscall.EROFS: connectors.Setup,
		syscall.EISDIR: connectors.Setup, syscall.ENOSPC: connectors.Remote, syscall.EIO: connectors.Remote,
	} {
		want(Fault("write", &fs.PathError{Op: "write", Path: "file", Err: err}), fault, err.Error())
	}
	want(Fault("lock", syscall.ENOLCK), connectors.Setup, "knows no locks, put the file on another")
	want(Fault("write", &os.LinkError{Op: "rename", Err: syscall.EBUSY}), connectors.Setup, "mount its folder")
	want(Fault("write", ErrReplaced), connectors.Remote, ErrReplaced.Error())
	want(Failed(syscall.EACCES), connectors.Remote, "write: permission denied")
}
