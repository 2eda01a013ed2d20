package config

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/leadrelay/leadrelay/internal/lockedfile"
)

// File is a configuration file that operators change by the program. What it held before each change is kept, see
// Versions.
type File struct {
	path string
	keep string           // the folder of the versions
	turn *lockedfile.File // only its lock is used, in keep: beside the configuration there may be nothing to write to
}

// OpenFile does no I/O. keep is a folder of its own, made by the first change: what it holds may have secrets in it.
func OpenFile(path, keep string) *File {
	return &File{path, keep, lockedfile.New(filepath.Join(keep, "versions"))}
}

// ErrChanged is the error of a save of what was made from another text than the file now holds.
var ErrChanged = errors.New("somebody else changed the file meanwhile: look at what it holds now, and make the change again")

// saveTimeout is how long a save waits for another one; none takes a second.
const saveTimeout = 10 * time.Second

// Read returns what the file holds, and the revision of that: what Config.Revision is.
func (f *File) Read() (text []byte, rev string, err error) {
	text, err = read(f.path)
	if err != nil {
		return nil, "", err
	}
	return text, revision(text), nil
}

// Writable says whether Save can work. It cannot on a ConfigMap of Kubernetes or another mount that is read-only.
func (f *File) Writable() bool {
	file, err := os.OpenFile(f.path, os.O_WRONLY, 0)
	if err != nil {
		return false
	}
	info, err := file.Stat()
	file.Close()
	return err == nil && info.Mode().IsRegular()
}

// Save replaces what the file holds, if that still is of the revision was; otherwise nothing happens and it returns
// ErrChanged. What the file held is kept as a version first, with who replaced it.
//
// Whoever reads the file finds the old text or the new one, also after a crash: it is replaced by a rename, behind
// symbolic links, with its mode and, where we may, its owner. Where its folder cannot be written, as around a file that is
// a mount by itself, it is written in place; a crash may then leave a part of the text, and the version.
func (f *File) Save(text []byte, was, who string) error {
	if len(text) > maxFile {
		return errors.New("too large for a configuration")
	}
	if !f.Writable() {
		return fmt.Errorf("%s cannot be written: apply the change by hand where the file comes from", f.path)
	}
	ctx, cancel := context.WithTimeout(context.Background(), saveTimeout)
	defer cancel()
	return f.turn.Write(ctx, true, func(*lockedfile.Held) error {
		path, err := filepath.EvalSymlinks(f.path)
		if err != nil {
			return err
		}
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		former, err := read(path)
		switch {
		case err != nil:
			return err
		case revision(former) != was:
			return ErrChanged
		case bytes.Equal(former, text):
			return nil
		}
		kept, err := f.keepVersion(former, who)
		if err != nil {
			return fmt.Errorf("the former text could not be kept, so the file was not changed: %w", err)
		}
		if err := replace(path, info, text); err != nil {
			kept.undo()
			return err
		}
		f.prune()
		return nil
	})
}

// replace puts text in the place of what the file with that info holds.
func replace(path string, info fs.FileInfo, text []byte) error {
	err := lockedfile.Alone(path, func(held *lockedfile.Held) error {
		_, err := held.Replace(info, func(w *bufio.Writer) error {
			_, err := w.Write(text)
			return err
		})
		return err
	})
	switch {
	case errors.Is(err, lockedfile.ErrReplaced):
		return ErrChanged
	case isAny(err, fs.ErrPermission, syscall.EROFS, syscall.EBUSY): // the folder's, or the file is a mount
		return writeInPlace(path, info, text)
	}
	return err
}

func isAny(err error, targets ...error) bool {
	for _, target := range targets {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// writeInPlace is for a file that no other can take the place of.
func writeInPlace(path string, info fs.FileInfo, text []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	if now, err := file.Stat(); err != nil || !lockedfile.Same(info, now) {
		return ErrChanged
	}
	_, err = io.Copy(file, bytes.NewReader(text))
	if err == nil {
		err = file.Truncate(int64(len(text)))
	}
	if err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = file.Close()
	}
	return err
}
