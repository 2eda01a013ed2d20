// Package lockedfile is a file on disk that many write, in turns: who writes it holds a lock beside it, new content
// takes the place of the old at once, and what was written without an error is on the disk.
//
// The lock is an flock on <path>.lock, which is never deleted. Processes on several hosts need a file system whose
// flock holds between hosts (NFSv4 does, SMB often does not). Programs that know nothing of the lock, such as a
// person's editor, are noticed where they can be: see ErrReplaced.
//
// The file is private: it is created 0600 in folders created 0700. A file that exists keeps its mode and, where we
// may, its owner. Errors say whose fault they are; they hold paths, and nothing of the content.
package lockedfile

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/gofrs/flock"

	"github.com/leadrelay/leadrelay/connectors"
)

// poll is how often a writer looks whether another process is done; a file is rewritten in some 100 ms.
const poll = 5 * time.Millisecond

// File is the file at a path, there or not.
type File struct {
	path string
	turn chan struct{} // taken by the one goroutine that writes
}

// New does no I/O.
func New(path string) *File { return &File{path: path, turn: make(chan struct{}, 1)} }

// Path is where the file is, as the settings say it.
func (f *File) Path() string { return f.path }

// CheckPath says what is wrong with a path in the settings; it does no I/O.
func CheckPath(path string) error {
	switch {
	case path == "":
		return errors.New("path: required")
	case os.IsPathSeparator(path[len(path)-1]):
		return errors.New("path: must name a file, not a folder")
	}
	return nil
}

// Limits let one worker write at a time, for whichever connector of a kind to the file: the others would only wait for
// the lock, which ends in a timeout where waiting for a permit does not.
func (f *File) Limits(kind string) connectors.Limits {
	return connectors.Limits{Scope: kind + ":" + filepath.Clean(f.path), Concurrency: 1}
}

// Write calls do while nobody else who asks for the lock can write the file. Where there is no file, nothing is made
// and do is not called, unless create is set.
func (f *File) Write(ctx context.Context, create bool, do func(*Held) error) error {
	select {
	case f.turn <- struct{}{}:
		defer func() { <-f.turn }()
	case <-ctx.Done():
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("wait for the file: %w", err)
	}
	path, err := resolve(f.path)
	if err != nil {
		return Fault("find the file", err)
	}
	if !create && missing(path) && missing(temporary(path)) {
		return nil
	}
	if err := makeFolder(filepath.Dir(path)); err != nil {
		return Fault("make the folder", err)
	}
	lock := flock.New(path+".lock", flock.SetPermissions(0o600))
	if _, err := lock.TryLockContext(ctx, poll); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("wait for the lock: %w", ctx.Err())
		}
		return Fault("lock", err)
	}
	defer lock.Unlock()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("wait for the lock: %w", err) // what we bring may be old by now
	}

	return held(path, func(h *Held) error {
		if !create && missing(path) {
			return nil
		}
		return do(h)
	})
}

// Alone calls do for who has kept other writers away by a lock of their own, such as one in another folder.
func Alone(path string, do func(*Held) error) error {
	path, err := resolve(path)
	if err != nil {
		return Fault("find the file", err)
	}
	return held(path, do)
}

func held(path string, do func(*Held) error) error {
	// A crash between creating and renaming it leaves a copy of everybody's data behind.
	if err := os.Remove(temporary(path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Fault("remove an unfinished file", err)
	}
	folder, err := openFolder(filepath.Dir(path)) // before anything changes: it has to be synced afterwards
	if err != nil {
		return Fault("open the folder", err)
	}
	defer folder.Close()
	return do(&Held{path, folder})
}

func missing(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}

func temporary(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".tmp")
}

// Check says whether the file, or the folder it will be made in, may be written, without doing so, and opens it; file
// is nil where there is none. It takes no lock, for that would make the lock's file.
func (f *File) Check() (file *os.File, err error) {
	path, err := resolve(f.path)
	if err != nil {
		return nil, Fault("find the file", err)
	}
	folder := filepath.Dir(path)
	for {
		info, err := os.Stat(folder)
		if errors.Is(err, fs.ErrNotExist) && filepath.Dir(folder) != folder {
			folder = filepath.Dir(folder) // the first write makes what is missing
			continue
		}
		if err == nil && !info.IsDir() {
			err = &fs.PathError{Op: "open", Path: folder, Err: syscall.ENOTDIR}
		}
		if err == nil {
			err = writable(folder)
		}
		if err != nil {
			return nil, Fault("find the folder", err)
		}
		break
	}
	file, _, err = openRegular(path)
	if err != nil {
		return nil, Fault("open", err)
	}
	return file, nil
}

// Held is a file while its lock is held.
type Held struct {
	path   string
	folder folder
}

// Path is where the file itself is, behind all symbolic links.
func (h *Held) Path() string { return h.path }

// Open opens the file for reading and appending; file is nil where there is none. A file that may not be written is
// not opened, although its folder would let us put another in its place.
func (h *Held) Open() (file *os.File, info fs.FileInfo, err error) {
	file, info, err = openRegular(h.path)
	if err != nil {
		return nil, nil, Fault("open", err)
	}
	return file, info, nil
}

// Unchanged says whether the path still leads to the file that had info, as it was.
func (h *Held) Unchanged(info fs.FileInfo) bool {
	current, err := os.Stat(h.path)
	return err == nil && Same(info, current)
}

// Same says whether two infos are of one file that nobody wrote in between.
func Same(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// Sync makes sure that what was written to an open file is on the disk. Its failures are remote faults, never setup:
// what was written may be there.
func (h *Held) Sync(file *os.File) error {
	err := file.Sync()
	if err == nil {
		err = h.folder.Sync()
	}
	if err != nil {
		return Failed(err)
	}
	return nil
}

// Replace puts a file with what write writes in the place of the one that had the info old (nil: there was none), and
// returns its info. After an error the old one is there as it was, unless the error came after the last step, when
// it is a remote fault. Windows renames over no open file: close it before.
func (h *Held) Replace(old fs.FileInfo, write func(*bufio.Writer) error) (fs.FileInfo, error) {
	name := temporary(h.path)
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, Fault("write", err)
	}
	defer os.Remove(name) // gone already when all went well
	defer file.Close()

	w := bufio.NewWriterSize(file, 1<<16)
	if err := write(w); err != nil {
		if old != nil && !h.Unchanged(old) {
			return nil, ErrReplaced // write may have read it
		}
		return nil, Fault("write", err)
	}
	if err := w.Flush(); err != nil {
		return nil, Fault("write", err)
	}
	if old != nil {
		keepOwner(file, old)
		if err := file.Chmod(old.Mode().Perm()); err != nil {
			return nil, Fault("write", err)
		}
	}
	if err := file.Sync(); err != nil {
		return nil, Fault("write", err)
	}
	written, err := file.Stat()
	if err != nil {
		return nil, Fault("write", err)
	}
	if err := file.Close(); err != nil {
		return nil, Fault("write", err)
	}
	if old == nil && !missing(h.path) || old != nil && !h.Unchanged(old) {
		return nil, ErrReplaced
	}
	// Somebody may have removed the lock's file, and another writer the unfinished one, to write its own.
	if mine, err := os.Lstat(name); err != nil || !os.SameFile(mine, written) {
		return nil, ErrReplaced
	}
	if err := os.Rename(name, h.path); err != nil {
		return nil, Fault("write", err)
	}
	if err := h.folder.Sync(); err != nil {
		return nil, Failed(err)
	}
	return written, nil
}

// openRegular opens a file for reading and appending; it is nil where there is none.
func openRegular(path string) (*os.File, fs.FileInfo, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errNotRegular
	}
	if err != nil {
		file.Close()
		return nil, nil, err
	}
	return file, info, nil
}

var errNotRegular = errors.New("not a regular file")

// resolve follows symbolic links to the file itself, there or not: renaming over a link would cut it, and writers
// that come by different links must meet at one lock.
func resolve(path string) (string, error) {
	for range 40 {
		folder, err := filepath.EvalSymlinks(filepath.Dir(path))
		if errors.Is(err, fs.ErrNotExist) {
			return filepath.Clean(path), nil
		}
		if err != nil {
			return "", err
		}
		path = filepath.Join(folder, filepath.Base(path))
		target, err := os.Readlink(path)
		if err != nil {
			return path, nil // it is no link, or not there
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(folder, target)
		}
		path = target
	}
	return "", &fs.PathError{Op: "readlink", Path: path, Err: syscall.ELOOP}
}

// makeFolder makes a folder and what is missing above it, and syncs the names: a file is lost with its folder.
func makeFolder(folder string) error {
	if _, err := os.Stat(folder); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(folder)
	if err := makeFolder(parent); err != nil {
		return err
	}
	if err := os.Mkdir(folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	above, err := openFolder(parent)
	if err != nil {
		return err
	}
	defer above.Close()
	return above.Sync()
}

// ErrReplaced is the fault of a write beside which another program wrote the file. Nothing of that program's is lost;
// the next attempt takes the file as it then is.
var ErrReplaced error = &connectors.Error{
	Fault: connectors.Remote, Err: errors.New("write: another program changed the file meanwhile"),
}

// Failed is the fault of a write that may have happened: never a setup fault, for those promise that nothing was
// applied.
func Failed(err error) error {
	return &connectors.Error{Fault: connectors.Remote, Err: fmt.Errorf("write: %w", err)}
}

// Fault says whose an error of the operating system is; an error that says so already stays as it is.
func Fault(doing string, err error) error {
	if known := (*connectors.Error)(nil); errors.As(err, &known) {
		return err
	}
	whose := connectors.Remote // a full disk, a failing one, a file that Excel holds open
	for _, ours := range []error{
		errNotRegular, fs.ErrPermission, syscall.EROFS, syscall.EISDIR, syscall.ENOTDIR, syscall.ELOOP, syscall.ENAMETOOLONG,
		syscall.EINVAL,
	} {
		if errors.Is(err, ours) {
			whose = connectors.Setup
		}
	}
	for _, lacks := range []error{syscall.ENOLCK, syscall.ENOTSUP, syscall.ENOSYS} {
		if doing == "lock" && errors.Is(err, lacks) {
			whose, err = connectors.Setup, fmt.Errorf("%w: the file system knows no locks, put the file on another", err)
		}
	}
	if errors.Is(err, syscall.EBUSY) {
		whose, err = connectors.Setup, fmt.Errorf("%w: a file that is a mount by itself cannot be replaced, mount its folder", err)
	}
	// Windows denies renaming over a file that another program has open.
	if renaming := (*os.LinkError)(nil); runtime.GOOS == "windows" && errors.As(err, &renaming) {
		whose = connectors.Remote
	}
	return &connectors.Error{Fault: whose, Err: fmt.Errorf("%s: %w", doing, err)}
}
