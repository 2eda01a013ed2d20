package embedded

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
)

// The journal is a row of numbered files. snapshot.N is the whole state before the first entry of journal.N, so the
// state is the newest snapshot and every journal from its number on. An entry is what one write, script or
// transaction did, as plain commands: it is there as a whole or not at all.
//
// A file is fileHeader and entries, an entry is
//
//	4 bytes  length of the payload
//	4 bytes  CRC-32C of these four: a length that lies must not pass for an entry that is cut off
//	4 bytes  CRC-32C of the payload
//	payload  commands: number of words, then each word's length and bytes, lengths as uvarints
//
// with integers in little endian. An entry without payload ends a snapshot.

const (
	fileHeader  = "leadrelay journal 1\n"
	entryHeader = 12
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendCommand appends a command to an entry's payload.
func appendCommand(payload []byte, args ...string) []byte {
	payload = binary.AppendUvarint(payload, uint64(len(args)))
	for _, arg := range args {
		payload = binary.AppendUvarint(payload, uint64(len(arg)))
		payload = append(payload, arg...)
	}
	return payload
}

// seal fills in the header of an entry that was begun with entryHeader bytes of space.
func seal(entry []byte) []byte {
	binary.LittleEndian.PutUint32(entry, uint32(len(entry)-entryHeader))
	binary.LittleEndian.PutUint32(entry[4:], crc32.Checksum(entry[:4], castagnoli))
	binary.LittleEndian.PutUint32(entry[8:], crc32.Checksum(entry[entryHeader:], castagnoli))
	return entry
}

var errPayload = errors.New("malformed payload")

// commands calls each with the commands of a payload.
func commands(payload []byte, each func(args []string)) error {
	for len(payload) > 0 {
		words, n := binary.Uvarint(payload)
		if n <= 0 || words == 0 || words > uint64(len(payload)) {
			return errPayload
		}
		payload = payload[n:]
		args := make([]string, 0, min(words, 64))
		for range words {
			size, n := binary.Uvarint(payload)
			if n <= 0 || size > uint64(len(payload)-n) {
				return errPayload
			}
			args = append(args, string(payload[n:n+int(size)]))
			payload = payload[n+int(size):]
		}
		each(args)
	}
	return nil
}

// damaged is an entry that is there but is not what was written. Unlike one that is cut off it is no trace of a
// crash, and what follows it may be sound, so it is not passed over in silence.
type damaged struct {
	file   string
	offset int64
}

func (d *damaged) Error() string {
	return fmt.Sprintf("%s is damaged at byte %d: restore it from a backup, or cut it there to go on with what comes before", d.file, d.offset)
}

// scan calls each with the payload of every entry of a file, and returns where the sound part ends. What comes after
// it is what a crash leaves behind: the beginning of an entry, or zeros where data had not reached the disk.
// Anything else is damage.
func scan(r io.Reader, size int64, each func(payload []byte) error) (sound int64, err error) {
	in := bufio.NewReaderSize(r, 1<<20)
	head := make([]byte, min(size, int64(len(fileHeader))))
	if _, err := io.ReadFull(in, head); err != nil {
		return 0, err
	}
	if string(head) != fileHeader {
		if strings.HasPrefix(fileHeader, strings.TrimRight(string(head), "\x00")) && restIsBlank(in) {
			return 0, nil
		}
		return 0, &damaged{}
	}
	sound = int64(len(head))
	var payload []byte
	for {
		if size-sound < entryHeader {
			return sound, nil
		}
		var h [entryHeader]byte
		if _, err := io.ReadFull(in, h[:]); err != nil {
			return sound, err
		}
		length := int64(binary.LittleEndian.Uint32(h[:]))
		if crc32.Checksum(h[:4], castagnoli) != binary.LittleEndian.Uint32(h[4:]) {
			if restIsBlank(in) {
				return sound, nil
			}
			return sound, &damaged{offset: sound}
		}
		end := sound + entryHeader + length
		if end > size {
			return sound, nil
		}
		if int64(cap(payload)) < length {
			payload = make([]byte, length)
		}
		payload = payload[:length]
		if _, err := io.ReadFull(in, payload); err != nil {
			return sound, err
		}
		if crc32.Checksum(payload, castagnoli) != binary.LittleEndian.Uint32(h[8:]) {
			if end == size || restIsBlank(in) {
				return sound, nil
			}
			return sound, &damaged{offset: sound}
		}
		if err := each(payload); err != nil {
			if errors.Is(err, errPayload) {
				err = &damaged{offset: sound}
			}
			return sound, err
		}
		sound = end
	}
}

func restIsBlank(r io.ByteReader) bool {
	for {
		switch c, err := r.ReadByte(); {
		case err != nil:
			return err == io.EOF
		case c != 0:
			return false
		}
	}
}

// segment is the file that entries are appended to.
type segment interface {
	io.Writer
	Sync() error
	Truncate(size int64) error
	Close() error
}

// journal appends entries and replaces them by snapshots. Its owner's lock guards it; sync and save go on beside
// that lock, so that nobody waits for a disk to sync.
type journal struct {
	dir      string
	base     uint64  // number of the newest snapshot and of the first journal that counts
	n        uint64  // number of the journal file in use
	file     segment // nil while broken
	size     int64   // of the sound part of file
	since    int64   // bytes in journals since the newest snapshot
	snapshot int64   // size of the newest snapshot
	broken   error   // why entries cannot be written: what is in memory is ahead of the disk

	dirty   atomic.Bool
	syncing sync.Mutex // held while file is synced, and to replace it

	create func(path string) (segment, error)
	step   func(name string) // tests look at the folder here
}

func createSegment(path string) (segment, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err // not f, a nil in an interface that is not
	}
	return f, nil
}

func (j *journal) path(kind string, n uint64) string {
	return filepath.Join(j.dir, fmt.Sprintf("%s.%08d", kind, n))
}

// openJournal reads what the folder holds, entry by entry, and opens it to go on. It returns how many bytes of an
// entry that was cut off by a crash it dropped.
func openJournal(dir string, apply func(args []string)) (j *journal, dropped int64, err error) {
	j = &journal{dir: dir, base: 1, create: createSegment, step: func(string) {}}
	snapshots, journals, err := j.list()
	if err != nil {
		return nil, 0, err
	}
	if len(snapshots) > 0 {
		j.base = snapshots[len(snapshots)-1]
		info, err := os.Stat(j.path("snapshot", j.base))
		if err != nil {
			return nil, 0, err
		}
		j.snapshot = info.Size()
	}
	j.n = j.base
	if len(journals) > 0 {
		j.n = max(j.n, journals[len(journals)-1])
	}
	if j.since, err = j.read(len(snapshots) > 0, j.base, j.n, apply); err != nil {
		return nil, 0, err
	}
	path := j.path("journal", j.n)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, 0, err
	}
	sound, size, err := readFile(path, apply)
	if err == nil && sound < size {
		dropped = size - sound
		err = f.Truncate(sound)
	}
	if err == nil && sound == 0 {
		// Not begun yet: a first start, or a crash just before or after the snapshot was in place.
		err = j.begin(f)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	j.file, j.size = f, max(sound, int64(len(fileHeader)))
	j.since += j.size
	j.tidy(j.base)
	return j, dropped, nil
}

// read calls apply with every command before journal end: those of the snapshot, if there is one, and of the
// journals since. All these files were complete before the next was begun. It returns the size of the journals.
func (j *journal) read(snapshot bool, base, end uint64, apply func(args []string)) (journals int64, err error) {
	if snapshot {
		if _, err := readWhole(j.path("snapshot", base), true, apply); err != nil {
			return 0, err
		}
	}
	for n := base; n < end; n++ {
		size, err := readWhole(j.path("journal", n), false, apply)
		if err != nil {
			return 0, err
		}
		journals += size
	}
	return journals, nil
}

// readWhole reads a file that must be sound to its end, which in a snapshot is an entry of its own.
func readWhole(path string, snapshot bool, apply func(args []string)) (size int64, err error) {
	ended := !snapshot
	sound, size, err := readEntries(path, func(payload []byte) error {
		ended = !snapshot || len(payload) == 0
		return commands(payload, apply)
	})
	switch {
	case errors.Is(err, os.ErrNotExist):
		err = fmt.Errorf("%s is missing: restore it from a backup", path)
	case err == nil && (!ended || sound < size):
		err = &damaged{path, sound}
	}
	return size, err
}

func readFile(path string, apply func(args []string)) (sound, size int64, err error) {
	return readEntries(path, func(payload []byte) error { return commands(payload, apply) })
}

func readEntries(path string, each func(payload []byte) error) (sound, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	sound, err = scan(f, info.Size(), each)
	if d := (*damaged)(nil); errors.As(err, &d) {
		d.file = path
	} else if err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return sound, info.Size(), err
}

// begin makes a new file the one that entries go to.
func (j *journal) begin(file segment) error {
	if _, err := file.Write([]byte(fileHeader)); err != nil {
		file.Close()
		return err
	}
	if err := errors.Join(file.Sync(), syncDir(j.dir)); err != nil {
		file.Close()
		return err
	}
	j.file, j.size = file, int64(len(fileHeader))
	return nil
}

func (j *journal) list() (snapshots, journals []uint64, err error) {
	entries, err := os.ReadDir(j.dir) // sorted, and numbers have one width
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		var n uint64
		switch name := e.Name(); {
		case scanName(name, "snapshot", &n):
			snapshots = append(snapshots, n)
		case scanName(name, "journal", &n):
			journals = append(journals, n)
		}
	}
	return snapshots, journals, nil
}

func scanName(name, kind string, n *uint64) bool {
	_, err := fmt.Sscanf(name, kind+".%08d", n)
	return err == nil && name == fmt.Sprintf("%s.%08d", kind, *n)
}

// follow calls apply with the commands that were appended to journal n between two offsets.
func (j *journal) follow(n uint64, from, to int64, apply func(args []string)) error {
	f, err := os.Open(j.path("journal", n))
	if err != nil {
		return err
	}
	defer f.Close()
	part := io.MultiReader(strings.NewReader(fileHeader), io.NewSectionReader(f, from, to-from))
	sound, err := scan(part, int64(len(fileHeader))+to-from, func(payload []byte) error { return commands(payload, apply) })
	if err == nil && sound < int64(len(fileHeader))+to-from {
		err = &damaged{f.Name(), from + sound - int64(len(fileHeader))}
	}
	return err
}

// append writes a sealed entry. When it returns nil the operating system has it.
func (j *journal) append(entry []byte) error {
	if j.broken != nil {
		return j.broken
	}
	if _, err := j.file.Write(entry); err != nil {
		j.fail(err)
		return err
	}
	j.size += int64(len(entry))
	j.since += int64(len(entry))
	j.dirty.Store(true)
	return nil
}

// fail gives up the file in use, which ends with its last sound entry. Only a snapshot of what is in memory brings
// the disk level again.
func (j *journal) fail(err error) {
	if j.broken != nil {
		return
	}
	j.syncing.Lock()
	defer j.syncing.Unlock()
	j.giveUp(err)
}

// giveUp is fail for those that hold syncing.
func (j *journal) giveUp(err error) {
	j.broken = err
	j.file.Truncate(j.size)
	j.file.Close()
	j.file = nil
}

// sync brings what was appended to the disk. It is called without the owner's lock.
func (j *journal) sync() error {
	j.syncing.Lock()
	defer j.syncing.Unlock()
	if j.file == nil || !j.dirty.Swap(false) {
		return nil
	}
	return j.file.Sync()
}

// rotate goes on in a new file, with the old one complete on disk, and returns the new one's number.
func (j *journal) rotate() (uint64, error) {
	file, err := j.create(j.path("journal", j.n+1))
	if err != nil {
		return 0, err
	}
	j.syncing.Lock()
	defer j.syncing.Unlock()
	old := j.file
	if err := old.Sync(); err != nil {
		file.Close()
		os.Remove(j.path("journal", j.n+1))
		j.giveUp(err) // a second try would succeed without having written anything
		return 0, err
	}
	j.step("new journal, without header")
	if err := j.begin(file); err != nil {
		os.Remove(j.path("journal", j.n+1))
		return 0, err
	}
	old.Close()
	j.n++
	j.step("new journal")
	return j.n, nil
}

// save writes the snapshot before journal n. It is called without the owner's lock; nothing else saves meanwhile.
func (j *journal) save(n uint64, state []byte) error {
	path := j.path("snapshot", n)
	tmp := path + ".tmp"
	err := func() error {
		file, err := j.create(tmp)
		if err != nil {
			return err
		}
		j.step("snapshot begun")
		half := len(state) / 2
		_, err = file.Write(state[:half])
		if err == nil {
			j.step("half a snapshot")
			_, err = file.Write(state[half:])
		}
		if err == nil {
			err = file.Sync()
		}
		return errors.Join(err, file.Close())
	}()
	if err != nil {
		os.Remove(tmp)
		return err
	}
	j.step("snapshot written")
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	if err := syncDir(j.dir); err != nil {
		return err
	}
	j.step("snapshot in place")
	j.tidy(n)
	j.step("tidied")
	return nil
}

// tidy removes what the snapshot before journal base makes superfluous, and snapshots that were never finished.
// What cannot be removed is left for the next time.
func (j *journal) tidy(base uint64) {
	entries, err := os.ReadDir(j.dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		var n uint64
		name := e.Name()
		old := (scanName(name, "snapshot", &n) || scanName(name, "journal", &n)) && n < base
		unfinished, _ := filepath.Match("snapshot.*.tmp", name)
		if old || unfinished {
			os.Remove(filepath.Join(j.dir, name))
			j.step("one removed")
		}
	}
}

// resume goes on in a new file after a failure. The snapshot before journal n, just saved, is what is in memory.
func (j *journal) resume(n uint64, size int64) error {
	j.n = n
	file, err := j.create(j.path("journal", n))
	if err != nil {
		return err
	}
	j.syncing.Lock()
	defer j.syncing.Unlock()
	if err := j.begin(file); err != nil {
		return err
	}
	j.broken, j.base, j.snapshot, j.since = nil, n, size, 0
	j.step("resumed")
	return nil
}

func (j *journal) close() error {
	err := j.sync()
	j.syncing.Lock()
	defer j.syncing.Unlock()
	if j.file != nil {
		err = errors.Join(err, j.file.Close())
		j.file = nil
	}
	return err
}

// syncDir makes the names in a folder durable. Windows does that by itself.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
