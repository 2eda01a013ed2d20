package xlsx

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lockedfile"
)

// file is the workbook on disk.
type file struct {
	*lockedfile.File
	sheet   string
	columns []string // lead_id first

	sound bool // it was, when this process last wrote or read it; guarded by the file's turn
}

// write brings the workbook in step with edits, all but those left, or, after an error, perhaps none: repeating it
// does no harm. When it returns nil, what the file holds is on the disk.
func (f *file) write(ctx context.Context, edits []edit) (left []string, err error) {
	writes := slices.ContainsFunc(edits, edit.writes) // deletes alone make no file
	err = f.Write(ctx, writes, func(held *lockedfile.Held) error {
		left, err = f.writeHeld(held, edits)
		f.sound = err == nil
		return err
	})
	return left, err
}

func (f *file) writeHeld(held *lockedfile.Held, edits []edit) (left []string, err error) {
	if err := closed(held.Path()); err != nil {
		return nil, err
	}
	old, info, err := held.Open()
	if err != nil {
		return nil, err
	}
	var w *workbook
	switch {
	case old == nil:
		w, err = newWorkbook(f.sheet, f.columns)
	default:
		defer old.Close()
		w, err = f.read(old, info)
	}
	if f.sound && old != nil && (err != nil || info.Size() == 0) {
		return nil, lockedfile.ErrReplaced // a program may be in the middle of saving it; the next attempt takes it as it is
	}
	if err != nil {
		return nil, unfit(err)
	}
	left = w.sheet.edit(edits)
	switch {
	case w.sheet.changed:
	case old == nil:
		return left, nil
	default:
		return left, held.Sync(old) // what an earlier attempt wrote may not have been
	}
	if err := w.finish(); err != nil {
		return nil, unfit(err)
	}
	_, err = held.Replace(info, func(out *bufio.Writer) error {
		err := w.write(out)
		if old != nil {
			old.Close() // Windows renames over no open file
		}
		return err
	})
	return left, err
}

// read reads a file; one without content is a workbook that is yet to be made.
func (f *file) read(file *os.File, info fs.FileInfo) (*workbook, error) {
	if info.Size() == 0 {
		return newWorkbook(f.sheet, f.columns)
	}
	return openWorkbook(file, info.Size(), f.sheet, f.columns)
}

// unfit is the fault of a file that cannot be read as what it should be.
func unfit(err error) error {
	if disk := (*fs.PathError)(nil); errors.As(err, &disk) {
		return lockedfile.Fault("read", err)
	}
	return setup("read: %w", err)
}

// closed makes sure that no program has the workbook open, as far as it says so: Excel and LibreOffice make a file
// beside it. What we wrote meanwhile would be lost when that program saves.
func closed(path string) error {
	folder, name := filepath.Split(path)
	for _, mark := range []string{"~$" + name, ".~lock." + name + "#"} {
		if _, err := os.Lstat(filepath.Join(folder, mark)); err == nil {
			return &connectors.Error{
				Fault: connectors.Throttled, RetryAfter: 30 * time.Second,
				Err: fmt.Errorf("wait: a program has the workbook open: close it there, or delete %s if none has", filepath.Join(folder, mark)),
			}
		}
	}
	return nil
}

// check finds out whether the workbook may be written, has our worksheet and is open in no program.
func (f *file) check() error {
	file, err := f.Check()
	if err != nil || file == nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return lockedfile.Fault("read", err)
	}
	if _, err := f.read(file, info); err != nil {
		return unfit(err)
	}
	return closed(file.Name())
}
