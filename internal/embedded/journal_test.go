package embedded

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func entryOf(cmds ...[]string) []byte {
	entry := make([]byte, entryHeader)
	for _, args := range cmds {
		entry = appendCommand(entry, args...)
	}
	return seal(entry)
}

// reopen reads a journal and tells what was in it.
func reopen(t *testing.T, dir string) (*journal, []string, int64) {
	t.Helper()
	var got []string
	j, dropped, err := openJournal(dir, func(args []string) { got = append(got, strings.Join(args, " ")) })
	if err != nil {
		t.Fatal(err)
	}
	return j, got, dropped
}

// journalOf makes a journal of three entries, and tells where the last one begins.
func journalOf(t *testing.T, dir string) (path string, whole []byte, last int64) {
	t.Helper()
	j, _, _ := reopen(t, dir)
	for i := range 3 {
		last = j.size
		if err := j.append(entryOf([]string{"SET", fmt.Sprint(i), ""}, []string{"INCR", "n"})); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	path = j.path("journal", 1)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, whole, last
}

var threeEntries = []string{"SET 0 ", "INCR n", "SET 1 ", "INCR n", "SET 2 ", "INCR n"}

func TestP1TornEntry(t *testing.T) {
	dir := t.TempDir()
	path, whole, last := journalOf(t, dir)
	for end := 0; end <= len(whole); end++ {
		for name, tail := range map[string][]byte{"cut off": nil, "zeros": make([]byte, 100)} {
			if tail != nil && int64(end) > last+entryHeader {
				continue // bytes of the entry itself may be zero
			}
			if err := os.WriteFile(path, slices.Concat(whole[:end], tail), 0o600); err != nil {
				t.Fatal(err)
			}
			j, got, dropped := reopen(t, dir)
			want := threeEntries[:0]
			switch {
			case end == len(whole):
				want = threeEntries
			case int64(end) >= last:
				want = threeEntries[:4]
			default:
				want = want[:len(got)/2*2] // whole entries only; how many is checked at the last one
			}
			if !slices.Equal(got, want) && int64(end) >= last {
				t.Fatalf("%s at %d: %q", name, end, got)
			}
			if end == len(whole) && tail == nil && dropped != 0 {
				t.Errorf("dropped %d bytes of a whole journal", dropped)
			}
			// It goes on from there.
			if err := j.append(entryOf([]string{"PING"})); err != nil {
				t.Fatal(err)
			}
			j.close()
			j, again, dropped := reopen(t, dir)
			if !slices.Equal(again, append(got, "PING")) || dropped != 0 {
				t.Fatalf("%s at %d, then appended to: %q, %d dropped", name, end, again, dropped)
			}
			j.close()
		}
	}
}

// Damage is not passed over: whatever byte of an earlier entry is changed, the journal is refused.
func TestP1Damage(t *testing.T) {
	dir := t.TempDir()
	path, whole, last := journalOf(t, dir)
	for i := range last {
		changed := bytes.Clone(whole)
		changed[i] ^= 0x40
		if err := os.WriteFile(path, changed, 0o600); err != nil {
			t.Fatal(err)
		}
		_, _, err := openJournal(dir, func([]string) {})
		if d := (*damaged)(nil); !errors.As(err, &d) || d.file != path || d.offset > i || !strings.Contains(err.Error(), "byte") {
			t.Fatalf("byte %d changed: %v", i, err)
		}
		if now, _ := os.ReadFile(path); !bytes.Equal(now, changed) {
			t.Fatalf("byte %d changed: the damaged file was touched", i)
		}
	}

	// A file before the last one was complete.
	j, _, _ := reopen(t, t.TempDir())
	j.append(entryOf([]string{"SET", "a", "b"}))
	if _, err := j.rotate(); err != nil {
		t.Fatal(err)
	}
	j.close()
	os.Truncate(j.path("journal", 1), int64(len(fileHeader))+5)
	if _, _, err := openJournal(j.dir, func([]string) {}); err == nil {
		t.Error("half a journal before another was taken")
	}
	os.Remove(j.path("journal", 1))
	if _, _, err := openJournal(j.dir, func([]string) {}); err == nil {
		t.Error("a journal without its beginning was taken")
	}

	// A snapshot is whole or nothing.
	for _, cut := range []int{0, 1, 12, 20} {
		j, _, _ := reopen(t, t.TempDir())
		state := slices.Concat([]byte(fileHeader), entryOf([]string{"SET", "a", "b"}), entryOf())
		if err := j.save(1, state[:len(state)-cut]); err != nil {
			t.Fatal(err)
		}
		j.close()
		_, _, err := openJournal(j.dir, func([]string) {})
		if (err == nil) != (cut == 0) {
			t.Errorf("a snapshot that lacks %d bytes: %v", cut, err)
		}
	}
}

func TestPrivateFiles(t *testing.T) {
	onEach(t, func(t *testing.T, engine string) {
		dir := t.TempDir()
		s := start(t, dir, engine)
		fill(t, connect(t, s.URL()))
		if engine == InProcess {
			if err := storeOf(s).compact(); err != nil {
				t.Fatal(err)
			}
		}
		seen := 0
		err := filepath.WalkDir(filepath.Join(dir, "redis"), func(path string, e os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			seen++
			if info, err := e.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s: %v, %v", path, info.Mode(), err)
			}
			return nil
		})
		if err != nil || seen < 5 {
			t.Error(seen, err)
		}
	})
}

func FuzzScan(f *testing.F) {
	f.Add([]byte(fileHeader))
	f.Add(slices.Concat([]byte(fileHeader), entryOf([]string{"SET", "a", "b"}), entryOf()))
	f.Add(slices.Concat([]byte(fileHeader), entryOf([]string{"SET", "a", "b"})[:14]))
	f.Add(slices.Concat([]byte(fileHeader), make([]byte, 30)))
	f.Fuzz(func(t *testing.T, data []byte) {
		read := func(data []byte) (sound int64, again []byte, err error) {
			again = []byte(fileHeader)
			sound, err = scan(bytes.NewReader(data), int64(len(data)), func(payload []byte) error {
				entry := make([]byte, entryHeader)
				if err := commands(payload, func(args []string) { entry = appendCommand(entry, args...) }); err != nil {
					return err
				}
				again = append(again, seal(entry)...)
				return nil
			})
			return sound, again, err
		}
		sound, again, err := read(data)
		if sound < 0 || sound > int64(len(data)) {
			t.Fatalf("%d of %d bytes are sound", sound, len(data))
		}
		if err != nil || sound == 0 {
			return
		}
		// What is read is what writing it would give, and the sound part is sound.
		if n, twice, err := read(again); err != nil || n != int64(len(again)) || !bytes.Equal(twice, again) {
			t.Fatal("written again it reads otherwise", err)
		}
		if n, _, err := read(data[:sound]); err != nil || n != sound {
			t.Fatal("the sound part is not", n, err)
		}
	})
}

func FuzzCommands(f *testing.F) {
	f.Add(appendCommand(nil, "SET", "a", ""))
	f.Add([]byte{255, 255, 255, 255, 255, 255, 255, 255, 255, 1})
	f.Add([]byte{1, 255, 255, 255, 255, 255, 255, 255, 255, 127, 'x'})
	f.Fuzz(func(t *testing.T, payload []byte) {
		var again []byte
		if err := commands(payload, func(args []string) {
			if len(args) == 0 {
				t.Fatal("a command without a name")
			}
			again = appendCommand(again, args...)
		}); err == nil && len(again) > len(payload) {
			t.Fatal("more came out than went in")
		}
	})
}
