package csv

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lockedfile"
)

// file is the file on disk.
type file struct {
	*lockedfile.File
	columns []string // lead_id first
	comma   byte     // of a file that is yet to be made
	bom     bool

	last memory // guarded by the file's turn
}

// memory is what the file held when this process last wrote or read it, and how to tell that it still does: an
// append then needs not read a hundred thousand rows to see that a lead is new.
type memory struct {
	info fs.FileInfo
	layout
	ids map[string]struct{}
}

// write brings the file in step with edits, all or, after an error, perhaps none: repeating it does no harm. When
// it returns nil, what the file holds is on the disk.
func (f *file) write(ctx context.Context, edits []edit) error {
	writes := slices.ContainsFunc(edits, edit.writes) // deletes alone make no file
	return f.Write(ctx, writes, func(held *lockedfile.Held) error {
		err := f.writeHeld(held, edits)
		if err != nil {
			f.last = memory{}
		}
		return err
	})
}

func (f *file) writeHeld(held *lockedfile.Held, edits []edit) error {
	old, info, err := held.Open()
	if err != nil {
		return err
	}
	if old == nil {
		s := newSheet(f.columns, f.comma)
		s.edit(edits)
		return f.replace(held, nil, s)
	}
	defer old.Close()

	if f.last.info != nil && lockedfile.Same(f.last.info, info) {
		if added, ok := f.last.onlyNew(edits); ok {
			return f.append(held, old, info, added)
		}
	}
	content, err := io.ReadAll(old)
	if err != nil {
		return lockedfile.Fault("read", err)
	}
	s, err := readSheet(string(content), f.columns, f.comma, f.bom)
	if err != nil {
		return &connectors.Error{Fault: connectors.Setup, Err: fmt.Errorf("read: %w", err)}
	}
	if s.torn && f.last.info != nil {
		return lockedfile.ErrReplaced // an editor may be in the middle of saving it; the next attempt takes it as it is
	}
	switch added, changed := s.edit(edits); {
	case !changed && (len(added) == 0 || !s.stale && s.appendable()):
		f.last = memoryOf(info, s, len(added))
		return f.append(held, old, info, added)
	default:
		old.Close() // Windows renames over no open file
		return f.replace(held, info, s)
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

// append writes rows at the end of file, whose info is given; without rows it makes sure of what an earlier attempt
// wrote and may not have synced. After a failure the file is cut to what it was: a row that is there but never
// reached the disk would be taken for written by the next attempt.
func (f *file) append(held *lockedfile.Held, file *os.File, info fs.FileInfo, rows []row) error {
	var text strings.Builder
	for _, r := range rows {
		text.WriteString(r.text)
	}
	_, err := file.WriteString(text.String())
	if err != nil {
		err = lockedfile.Failed(err)
	} else {
		err = held.Sync(file)
	}
	if err != nil {
		if len(rows) > 0 {
			file.Truncate(info.Size())
		}
		return err
	}
	now, err := file.Stat()
	if err != nil {
		return lockedfile.Failed(err)
	}
	if !held.Unchanged(now) || now.Size() != info.Size()+int64(text.Len()) {
		return lockedfile.ErrReplaced
	}
	for _, r := range rows {
		f.last.ids[r.id] = struct{}{}
	}
	if f.last.info != nil {
		f.last.info = now
	}
	return nil
}

// replace puts a new file in the place of the one with info (nil: there is none).
func (f *file) replace(held *lockedfile.Held, info fs.FileInfo, s *sheet) error {
	s.torn, s.stale = false, false
	written, err := held.Replace(info, func(w *bufio.Writer) error {
		if f.bom {
			w.WriteString(byteOrderMark)
		}
		w.WriteString(s.header)
		for _, r := range s.rows {
			w.WriteString(r.text)
		}
		return nil // the writer remembers its first error
	})
	if err != nil {
		return err
	}
	f.last = memoryOf(written, s, 0)
	return nil
}

// check finds out whether the file may be written and is one of ours.
func (f *file) check() error {
	file, err := f.Check()
	if err != nil || file == nil {
		return err
	}
	defer file.Close()
	beginning, err := io.ReadAll(io.LimitReader(file, 1<<20))
	if err != nil {
		return lockedfile.Fault("read", err)
	}
	header := strings.TrimPrefix(string(beginning), byteOrderMark)
	if strings.Trim(header, " \t\r\n\x00") == "" {
		return nil
	}
	if _, _, err := readHeader(header, f.comma); err != nil {
		return &connectors.Error{Fault: connectors.Setup, Err: fmt.Errorf("read: %w", err)}
	}
	return nil
}
