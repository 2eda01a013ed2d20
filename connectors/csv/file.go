package csv

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"

	"github.com/leadrelay/leadrelay/connectors"
)

// lockPoll is how often a writer looks whether another process is done; a file is rewritten in some 100 ms.
const lockPoll = 5 * time.Millisecond

// file is the file on disk.
type file struct {
	path    string
	columns []string // lead_id first
	comma   byte     // of a file that is yet to be made
	bom     bool

	turn chan struct{} // taken by the one goroutine that writes
	last memory        // guarded by turn
}

// memory is what the file held when this process last wrote or read it, and how to tell that it still does: an
// append then needs not read a hundred thousand rows to see that a lead is new.
type memory struct {
	info fs.FileInfo
	layout
	ids map[string]struct{}
}

func (m memory) of(info fs.FileInfo) bool {
	return m.info != nil && os.SameFile(m.info, info) && m.info.Size() == info.Size() && m.info.ModTime().Equal(info.ModTime())
}

// write brings the file in step with edits, all or, after an error, perhaps none: repeating it does no harm. When
// it returns nil, what the file holds is on the disk.
func (f *file) write(ctx context.Context, edits []edit) error {
	select {
	case f.turn <- struct{}{}:
		defer func() { <-f.turn }()
	case <-ctx.Done():
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("csv: wait for the file: %w", err)
	}
	path, err := resolve(f.path)
	if err != nil {
		return fault("find the file", err)
	}
	writes := slices.ContainsFunc(edits, edit.writes)
	if !writes && missing(path) && missing(temporary(path)) {
		return nil // deletes alone make no file
	}
	if err := makeFolder(filepath.Dir(path)); err != nil {
		return fault("make the folder", err)
	}
	lock := flock.New(path+".lock", flock.SetPermissions(0o600))
	if _, err := lock.TryLockContext(ctx, lockPoll); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("csv: wait for the lock: %w", ctx.Err())
		}
		return fault("lock", err)
	}
	defer lock.Unlock()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("csv: wait for the lock: %w", err) // what we bring may be old by now
	}

	// A crash between creating and renaming it leaves a copy of everybody's data behind.
	if err := os.Remove(temporary(path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fault("remove an unfinished file", err)
	}
	if !writes && missing(path) {
		return nil
	}
	if err := f.writeLocked(path, edits); err != nil {
		f.last = memory{}
		return err
	}
	return nil
}

func missing(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}

func (f *file) writeLocked(path string, edits []edit) error {
	folder, err := openFolder(filepath.Dir(path)) // before anything changes: it has to be synced afterwards
	if err != nil {
		return fault("open the folder", err)
	}
	defer folder.Close()
	old, info, err := openRegular(path)
	if err != nil {
		return fault("open", err)
	}
	if old == nil {
		s := newSheet(f.columns, f.comma)
		s.edit(edits)
		return f.replace(path, folder, nil, s)
	}
	defer old.Close()

	if f.last.of(info) {
		if added, ok := f.last.onlyNew(edits); ok {
			return f.append(path, folder, old, info, added)
		}
	}
	content, err := io.ReadAll(old)
	if err != nil {
		return fault("read", err)
	}
	s, err := readSheet(string(content), f.columns, f.comma, f.bom)
	if err != nil {
		return &connectors.Error{Fault: connectors.Setup, Err: fmt.Errorf("csv: read: %w", err)}
	}
	if s.torn && f.last.info != nil {
		return errReplaced // an editor may be in the middle of saving it; the next attempt takes it as it is
	}
	switch added, changed := s.edit(edits); {
	case !changed && (len(added) == 0 || !s.stale && s.appendable()):
		f.last = memoryOf(info, s, len(added))
		return f.append(path, folder, old, info, added)
	default:
		old.Close() // Windows renames over no open file
		return f.replace(path, folder, info, s)
	}
}

// onlyNew returns the rows of new leads, if edits are nothing else; deletes of leads that are not there count for
// nothing.
func (m memory) onlyNew(edits []edit) (added []row, ok bool) {
	for _, e := range edits {
		if _, known := m.ids[e.id]; known {
			return nil, false
		}
		if e.writes() {
			added = append(added, m.create(e))
		}
	}
	return added, len(added) == 0 || m.appendable()
}

// memoryOf is what a file with info is known to hold, less the newest rows of s.
func memoryOf(info fs.FileInfo, s *sheet, newest int) memory {
	m := memory{info: info, layout: s.layout, ids: make(map[string]struct{}, len(s.rows))}
	for _, r := range s.rows[:len(s.rows)-newest] {
		if r.id != "" {
			m.ids[strings.Clone(r.id)] = struct{}{} // a row's text would keep the whole file in memory
		}
	}
	if s.stale {
		m.info = nil
	}
	return m
}

// append writes rows at the end of f, whose info is given; without rows it makes sure of what an earlier attempt
// wrote and may not have synced. After a failure the file is cut to what it was: a row that is there but never
// reached the disk would be taken for written by the next attempt.
func (f *file) append(path string, folder folder, file *os.File, info fs.FileInfo, rows []row) error {
	var text strings.Builder
	for _, r := range rows {
		text.WriteString(r.text)
	}
	_, err := file.WriteString(text.String())
	if err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = folder.Sync()
	}
	if err != nil {
		if len(rows) > 0 {
			file.Truncate(info.Size())
		}
		return failed(err)
	}
	now, err := file.Stat()
	if err != nil {
		return failed(err)
	}
	current, err := os.Stat(path)
	if err != nil || !os.SameFile(current, now) || now.Size() != info.Size()+int64(text.Len()) {
		return errReplaced
	}
	for _, r := range rows {
		f.last.ids[r.id] = struct{}{}
	}
	if f.last.info != nil {
		f.last.info = now
	}
	return nil
}

var errReplaced = &connectors.Error{
	Fault: connectors.Remote, Err: errors.New("csv: write: another program changed the file meanwhile"),
}

// replace puts a new file in the place of the one with info (nil: there is none).
func (f *file) replace(path string, folder folder, info fs.FileInfo, s *sheet) error {
	s.torn, s.stale = false, false
	name := temporary(path)
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fault("write", err)
	}
	defer os.Remove(name) // gone already when all went well
	defer file.Close()

	w := bufio.NewWriterSize(file, 1<<16)
	if f.bom {
		w.WriteString(byteOrderMark)
	}
	w.WriteString(s.header)
	for _, r := range s.rows {
		w.WriteString(r.text)
	}
	if err := w.Flush(); err != nil {
		return fault("write", err)
	}
	if info != nil {
		keepOwner(file, info)
		if err := file.Chmod(info.Mode().Perm()); err != nil {
			return fault("write", err)
		}
	}
	if err := file.Sync(); err != nil {
		return fault("write", err)
	}
	written, err := file.Stat()
	if err != nil {
		return fault("write", err)
	}
	if err := file.Close(); err != nil {
		return fault("write", err)
	}
	switch current, err := os.Stat(path); {
	case info == nil && errors.Is(err, fs.ErrNotExist):
	case err != nil || info == nil || !(memory{info: info}).of(current):
		return errReplaced
	}
	// Somebody may have removed the lock's file, and another writer the unfinished one, to write its own.
	if mine, err := os.Lstat(name); err != nil || !os.SameFile(mine, written) {
		return errReplaced
	}
	if err := os.Rename(name, path); err != nil {
		return fault("write", err)
	}
	if err := folder.Sync(); err != nil {
		return failed(err)
	}
	f.last = memoryOf(written, s, 0)
	return nil
}

func temporary(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".tmp")
}

// check is Check: it takes no lock, for that would make the lock's file.
func (f *file) check() error {
	path, err := resolve(f.path)
	if err != nil {
		return fault("find the file", err)
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
			return fault("check", err)
		}
		break
	}
	file, _, err := openRegular(path)
	if err != nil {
		return fault("check", err)
	}
	if file == nil {
		return nil
	}
	defer file.Close()
	beginning, err := io.ReadAll(io.LimitReader(file, 1<<20))
	if err != nil {
		return fault("check", err)
	}
	header := strings.TrimPrefix(string(beginning), byteOrderMark)
	if strings.Trim(header, " \t\r\n\x00") == "" {
		return nil
	}
	if _, _, err := readHeader(header, f.comma); err != nil {
		return &connectors.Error{Fault: connectors.Setup, Err: fmt.Errorf("csv: check: %w", err)}
	}
	return nil
}

// openRegular opens a file for reading and appending; it is nil where there is none. A file that may not be
// written is not, although its folder would let us put another in its place.
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

// failed is the fault of a write that may have happened: never a setup fault, for those promise that nothing was
// applied.
func failed(err error) error {
	return &connectors.Error{Fault: connectors.Remote, Err: fmt.Errorf("csv: write: %w", err)}
}

// fault says whose an error of the operating system is. Paths come from the settings and hold no personal data.
func fault(doing string, err error) error {
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
	return &connectors.Error{Fault: whose, Err: fmt.Errorf("csv: %s: %w", doing, err)}
}
