package connectortest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gofrs/flock"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// File is what a connector gives RunFile that keeps its leads in a local file, at its setting path.
type File struct {
	Kind connectors.Kind
	Name string // of a file, such as leads.csv

	// Records lists what the file at path holds, and nothing where there is none.
	Records func(path string) []Record

	// Other are settings by which a second connector to a file differs from the first.
	Other map[string]any

	// Room are sizes, of a file that has size, past which it cannot grow so that no change fits any more.
	Room func(size int) []int

	// Sound fails the test where the file at path is not whole. nil: Records sees it.
	Sound func(t testing.TB, path string)
}

// fileCheck is one promise of a connector that keeps a local file.
type fileCheck struct {
	name string
	run  func(t *testing.T, f File)
}

// RunFile runs what is promised of a local file, beyond Run: other processes, crashes, and what else is at its path. It
// starts the test program again, to run the test that calls it, so that test may do nothing before.
func RunFile(t *testing.T, f File) {
	if text := os.Getenv(jobVariable); text != "" {
		f.work(t, text)
	}
	test := t.Name()
	checks := append(slices.Clip(fileChecks),
		fileCheck{"three processes write at once", func(t *testing.T, f File) { f.threeProcesses(t, test) }},
		fileCheck{"a killed process loses nothing it reported", func(t *testing.T, f File) { f.killed(t, test) }},
		fileCheck{"a full disk is a remote fault and leaves the file as it was", func(t *testing.T, f File) { f.fullDisk(t, test) }},
	)
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) { c.run(t, f) })
	}
}

// Open opens a connector to path; settings beside path and columns, fields of a lead, are optional.
func (f File) Open(t testing.TB, path string, settings map[string]any, columns ...string) connectors.Connector {
	t.Helper()
	rules := f.Kind.Fields
	if columns != nil {
		rules = nil
		for _, name := range columns {
			rules = append(rules, connectors.FieldRule{To: name, From: name})
		}
	}
	mapping, err := connectors.NewMapping(rules)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]any{"path": path}
	maps.Copy(all, settings)
	c, err := f.Kind.Open(all, connectors.Env{Name: "sheet", Fields: mapping})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// NewPath is where no file is yet.
func (f File) NewPath(t testing.TB) string { return filepath.Join(t.TempDir(), f.Name) }

// IDs lists the lead ids in a file's records, in order.
func (f File) IDs(path string) (ids []string) {
	for _, record := range f.Records(path) {
		ids = append(ids, record.Key)
	}
	return ids
}

// WantFault fails the test where err is another fault, lacks text, or does not say which kind of connector failed.
func (f File) WantFault(t testing.TB, err error, want connectors.Fault, text string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want a %v fault", want)
	}
	if got, _ := connectors.FaultOf(err); got != want || !strings.Contains(err.Error(), text) || !strings.HasPrefix(err.Error(), f.Kind.Name+": ") {
		t.Fatalf("got a %v fault %q, want a %v fault with %q", got, err, want, text)
	}
}

// PushAll pushes changes as one batch, all of which has to succeed.
func PushAll(t testing.TB, c connectors.Connector, changes ...lead.Change) {
	t.Helper()
	items := make([]connectors.Item, len(changes))
	for i := range changes {
		items[i].Change = changes[i]
	}
	for i, result := range c.(connectors.Batcher).PushBatch(context.Background(), items) {
		if result.Err != nil {
			t.Fatalf("item %d: %v", i, result.Err)
		}
	}
}

func create(i int) lead.Change { return Created(Sample(i)) }
func update(i int) lead.Change { return Updated(Edited(Sample(i))) }
func remove(i int) lead.Change { return Deleted(Sample(i)) }

func (f File) wantIDs(t testing.TB, path string, want ...int) {
	t.Helper()
	var ids []string
	for _, i := range want {
		ids = append(ids, Sample(i).ID)
	}
	if got := f.IDs(path); !slices.Equal(got, ids) {
		t.Errorf("the file holds %v, want %v", got, ids)
	}
}

func checked(c connectors.Connector) error {
	return c.(connectors.Checker).Check(context.Background())
}

// unfinishedFile is where a file is before it takes the place of the one at path.
func unfinishedFile(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".tmp")
}

func missing(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func writeFile(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

var fileChecks = []fileCheck{
	{"the file is private, and alone with its lock", func(t *testing.T, f File) {
		path := filepath.Join(t.TempDir(), "new", "folder", f.Name)
		c := f.Open(t, path, nil)
		PushAll(t, c, create(1))
		for name, want := range map[string]fs.FileMode{
			path: 0o600, path + ".lock": 0o600, filepath.Dir(path): 0o700, filepath.Dir(filepath.Dir(path)): 0o700,
		} {
			if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: %v, %v; want %v", name, info, err, want)
			}
		}
		PushAll(t, c, remove(1))
		if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 2 {
			t.Errorf("the folder holds %v, want the file and its lock", entries)
		}
	}},
	{"deletes alone make no file", func(t *testing.T, f File) {
		path := filepath.Join(t.TempDir(), "new", f.Name)
		PushAll(t, f.Open(t, path, nil), remove(1))
		if !missing(filepath.Dir(path)) {
			t.Error("the folder was made")
		}
	}},
	{"the unfinished file of a crash is removed", func(t *testing.T, f File) {
		path := f.NewPath(t)
		c := f.Open(t, path, nil)
		for i, change := range []lead.Change{remove(1), create(1), create(2), update(2), update(2), create(2), remove(1)} {
			writeFile(t, unfinishedFile(path), "everybody's data")
			PushAll(t, c, change)
			if !missing(unfinishedFile(path)) {
				t.Errorf("after the %s that is change %d it is still there", change.Op, i)
			}
			if i == 0 && !missing(path) {
				t.Error("a delete made the file")
			}
		}
	}},
	{"a symbolic link is followed", func(t *testing.T, f File) {
		folder := t.TempDir()
		deep := filepath.Join(folder, "real", "deep")
		os.MkdirAll(deep, 0o700)
		os.Symlink(filepath.Join("real", "deep"), filepath.Join(folder, "dir"))
		os.Symlink(filepath.Join("..", f.Name), filepath.Join(deep, "link-"+f.Name))
		target := filepath.Join(folder, "real", f.Name)
		c := f.Open(t, filepath.Join(folder, "dir", "link-"+f.Name), nil, "source")
		PushAll(t, c, create(1)) // the link dangles
		PushAll(t, c, update(1), create(2))
		f.wantIDs(t, target, 1, 2)
		PushAll(t, c, remove(2))
		f.wantIDs(t, target, 1)
		if info, err := os.Lstat(filepath.Join(deep, "link-"+f.Name)); err != nil || info.Mode()&fs.ModeSymlink == 0 {
			t.Error("the link was replaced")
		}
		if missing(target + ".lock") {
			t.Error("the lock is not beside the target")
		}
		if err := checked(c); err != nil {
			t.Error(err)
		}
	}},
	{"a path that leads to no file is a setup fault", func(t *testing.T, f File) {
		folder := t.TempDir()
		os.Mkdir(filepath.Join(folder, f.Name), 0o700)
		writeFile(t, filepath.Join(folder, "file"), "lead_id\n")
		os.Symlink("loop-"+f.Name, filepath.Join(folder, "loop-"+f.Name))
		for name, want := range map[string]string{
			f.Name:                        "is a directory",
			filepath.Join("file", f.Name): "not a directory",
			"loop-" + f.Name:              "too many",
		} {
			c := f.Open(t, filepath.Join(folder, name), nil)
			_, err := c.Push(context.Background(), create(1), "")
			f.WantFault(t, err, connectors.Setup, want)
			f.WantFault(t, checked(c), connectors.Setup, want)
		}
		if _, err := f.Open(t, filepath.Join(folder, "\x00"+f.Name), nil).Push(context.Background(), create(1), ""); err == nil {
			t.Error("a path with a NUL was written")
		}
	}},
	{"a lock that another holds is waited for until the deadline", func(t *testing.T, f File) {
		path := f.NewPath(t)
		c := f.Open(t, path, nil)
		PushAll(t, c, create(1))
		lock := flock.New(path + ".lock") // as another process would
		if ok, err := lock.TryLock(); !ok || err != nil {
			t.Fatalf("lock: %v, %v", ok, err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		push := func(ctx context.Context) {
			_, err := c.Push(ctx, create(2), "")
			done <- err
		}
		go push(ctx)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the context's error", err)
		}
		go push(context.Background())
		lock.Unlock()
		if err := <-done; err != nil {
			t.Error(err)
		}
		f.wantIDs(t, path, 1, 2)
	}},
	{"connectors to one file take turns", func(t *testing.T, f File) {
		limits := func(path string, settings map[string]any, columns ...string) connectors.Limits {
			return f.Open(t, path, settings, columns...).(connectors.Limited).Limits()
		}
		one, other := limits("data/"+f.Name, nil), limits("./data//"+f.Name, f.Other, "phone")
		if !reflect.DeepEqual(one, other) || one.Concurrency != 1 {
			t.Errorf("got %+v and %+v", one, other)
		}
		if elsewhere := limits("data/others-"+f.Name, nil); reflect.DeepEqual(elsewhere, one) {
			t.Errorf("another file shares %+v", elsewhere)
		}
	}},
	{"many goroutines and connectors write one file", func(t *testing.T, f File) {
		path := f.NewPath(t)
		const writers, each = 20, 10
		shared := f.Open(t, path, nil)
		var group sync.WaitGroup
		for w := range writers {
			c := shared
			if w%2 == 1 {
				c = f.Open(t, path, nil)
			}
			group.Go(func() {
				for i := range each {
					n := w*each + i
					for _, change := range []lead.Change{create(n), update(n), remove(n)}[:1+i%3] {
						if _, err := c.Push(context.Background(), change, ""); err != nil {
							t.Errorf("lead %d: %v", n, err)
						}
					}
				}
			})
		}
		group.Wait()
		held := map[string]string{}
		for _, record := range f.Records(path) {
			if held[record.Key] != "" {
				t.Errorf("%s has two records", record.Key)
			}
			held[record.Key] = record.Fields["name"]
		}
		for n := range writers * each {
			want := []string{Sample(n).Name, Edited(Sample(n)).Name, ""}[n%each%3]
			if got := held[Sample(n).ID]; got != want {
				t.Errorf("lead %d: the file has %q, want %q", n, got, want)
			}
		}
	}},
}

// jobVariable tells a process that it is another's job, and which.
const jobVariable = "LEADRELAY_TEST_FILE_JOB"

// job is this test program, run again as another process that does "name from to path".
func job(t testing.TB, test, name, path string, from, to int) *exec.Cmd {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-test.run=^"+test+"$")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %d %q", jobVariable, name, from, to, path))
	cmd.Stderr = os.Stderr
	return cmd
}

// work is what the other process does. It prints each id as soon as its push has returned.
func (f File) work(t testing.TB, text string) {
	var name, path string
	var from, to int
	if _, err := fmt.Sscanf(text, "%s %d %d %q", &name, &from, &to, &path); err != nil {
		t.Fatal(err)
	}
	c := f.Open(t, path, nil)
	switch name {
	case "mixed":
		for i := from; i < to; i++ {
			PushAll(t, c, create(i))
			PushAll(t, c, update(i))
			if i%3 == 0 {
				PushAll(t, c, remove(i))
				continue
			}
			fmt.Println(Sample(i).ID)
		}
	case "full":
		fillDisk(t, c, from)
	}
	os.Exit(0) // without the summary that a test prints
}

func (f File) threeProcesses(t *testing.T, test string) {
	path := f.NewPath(t)
	const each = 60
	var printed [3]strings.Builder
	var jobs []*exec.Cmd
	for i := range printed {
		cmd := job(t, test, "mixed", path, i*each, (i+1)*each)
		cmd.Stdout = &printed[i]
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		jobs = append(jobs, cmd)
	}
	var want []string
	for i, cmd := range jobs {
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		want = append(want, strings.Fields(printed[i].String())...)
	}
	got := f.IDs(path)
	slices.Sort(got)
	slices.Sort(want)
	if len(want) != 3*each*2/3 || !slices.Equal(got, want) {
		t.Errorf("the file has %d leads, the processes wrote %d", len(got), len(want))
	}
}

func (f File) killed(t *testing.T, test string) {
	path := f.NewPath(t)
	for round := range 5 {
		cmd := job(t, test, "mixed", path, round*1000, (round+1)*1000)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var reported []string
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			reported = append(reported, lines.Text())
			if len(reported) == 10+round {
				cmd.Process.Kill()
			}
		}
		cmd.Wait()
		PushAll(t, f.Open(t, path, nil), create(900_000+round)) // the lock is free, the file whole
		if f.Sound != nil {
			f.Sound(t, path)
		}
		if !missing(unfinishedFile(path)) {
			t.Errorf("round %d: an unfinished file is left", round)
		}
		if len(reported) < 10+round {
			t.Errorf("round %d: the process ended by itself", round)
		}
		held := f.IDs(path)
		for _, l := range reported {
			if !slices.Contains(held, l) {
				t.Errorf("round %d: %s was reported as written and is not there", round, l)
			}
		}
	}
}
