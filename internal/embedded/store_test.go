package embedded

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func storeOf(s *Server) *store { return s.engine.(*inProcess).store }

// copyFiles copies a folder as a crash at this moment would leave it.
func copyFiles(t testing.TB, from, to string) {
	t.Helper()
	if err := os.MkdirAll(to, 0o700); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		data, err := os.ReadFile(filepath.Join(from, e.Name()))
		if errors.Is(err, os.ErrNotExist) && filepath.Ext(e.Name()) == ".tmp" {
			continue // an attempt at a snapshot has just been given up
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, e.Name()), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// change does one random thing.
func change(t testing.TB, c *redis.Client, random *rand.Rand) {
	t.Helper()
	ctx := t.Context()
	key := func() string { return fmt.Sprint("k", random.IntN(40)) }
	word := func() string { return strconv.Itoa(random.IntN(20)) }
	score := strconv.FormatFloat(random.NormFloat64(), 'g', -1, 64)
	all := [][]any{
		{"SET", key(), word()}, {"SET", key(), word(), "EX", 1000 + random.IntN(1000)}, {"SET", key(), word(), "KEEPTTL"},
		{"SET", key(), word(), "NX"}, {"SETEX", key(), 5000, word()}, {"GETSET", key(), word()}, {"GETDEL", key()},
		{"APPEND", key(), word()}, {"INCRBY", key(), random.IntN(9)}, {"INCRBYFLOAT", key(), score}, {"SETRANGE", key(), 3, word()},
		{"MSET", key(), word(), key(), word()}, {"DEL", key()}, {"RENAME", key(), key()}, {"PERSIST", key()},
		{"EXPIRE", key(), 1000 + random.IntN(1000), "GT"}, {"PEXPIREAT", key(), time.Now().UnixMilli() - 1},
		{"HSET", key(), word(), word(), word(), word()}, {"HDEL", key(), word()}, {"HINCRBY", key(), word(), 3}, {"HSETNX", key(), word(), word()},
		{"LPUSH", key(), word(), word()}, {"RPUSH", key(), word()}, {"RPOPLPUSH", key(), key()}, {"LPOP", key()}, {"LREM", key(), 0, word()},
		{"LTRIM", key(), 1, 3}, {"LINSERT", key(), "BEFORE", word(), word()}, {"LMOVE", key(), key(), "LEFT", "RIGHT"},
		{"SADD", key(), word(), word()}, {"SREM", key(), word()}, {"SMOVE", key(), key(), word()}, {"SUNIONSTORE", key(), key(), key()},
		{"ZADD", key(), score, word()}, {"ZADD", key(), "XX", "GT", score, word()}, {"ZINCRBY", key(), score, word()}, {"ZREM", key(), word()},
		{"ZREMRANGEBYRANK", key(), 0, 1}, {"ZPOPMIN", key()}, {"ZUNIONSTORE", key(), 2, key(), key()}, {"ZADD", key(), "inf", word()},
		{"EVAL", `local r = redis.call('SET', KEYS[1], ARGV[1])
			redis.pcall('HSET', KEYS[2], ARGV[1], redis.call('TIME')[2])
			redis.call('EXPIRE', KEYS[1], 700)
			return redis.call('INCR', KEYS[2])`, 2, key(), key(), word()},
	}
	args := all[random.IntN(len(all))]
	if random.IntN(8) == 0 {
		c.TxPipelined(ctx, func(p redis.Pipeliner) error {
			p.Do(ctx, args...)
			p.Do(ctx, all[random.IntN(len(all))]...)
			return nil
		})
		return
	}
	var serverError redis.Error
	if err := c.Do(ctx, args...).Err(); err != nil && !errors.As(err, &serverError) {
		t.Fatal(args, err)
	}
}

// Whatever is done, replaying the journal, or the snapshot that replaces it, gives the identical state.
func TestP1ReplayIsIdentical(t *testing.T) {
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(1, 2))
	s := start(t, dir, InProcess)
	c := connect(t, s.URL())
	for round := range 6 {
		for range 1500 {
			change(t, c, random)
		}
		want := contents(t, c)
		switch round % 3 {
		case 1:
			if err := storeOf(s).compact(); err != nil {
				t.Fatal(err)
			}
			same(t, "compacted, still running", contents(t, c), want)
			fallthrough
		case 0:
			stop(t, s)
			s = start(t, dir, InProcess)
			c = connect(t, s.URL())
		case 2:
			crashed := t.TempDir()
			copyFiles(t, filepath.Join(dir, "redis"), filepath.Join(crashed, "redis"))
			other := start(t, crashed, InProcess)
			same(t, "after a crash", contents(t, connect(t, other.URL())), want)
			continue
		}
		same(t, fmt.Sprint("round ", round), contents(t, c), want)
	}
}

func TestP1CompactionCrash(t *testing.T) {
	dir, crashes := t.TempDir(), t.TempDir()
	s := start(t, dir, InProcess)
	c := connect(t, s.URL())
	ctx := t.Context()
	fill(t, c)
	var acknowledged atomic.Int64
	stopped := make(chan struct{})
	script := redis.NewScript("for i = 1, 20 do redis.call('INCR', KEYS[1]) end return redis.call('SET', KEYS[2], ARGV[1])")
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := int64(1); ; i++ {
			select {
			case <-stopped:
				return
			default:
			}
			if err := script.Run(ctx, c, []string{"live:counted", fmt.Sprint("live:", i)}, i).Err(); err != nil {
				t.Error(err)
				return
			}
			acknowledged.Store(i)
		}
	})

	type crash struct {
		step, dir string
		keys      int64
	}
	var all []crash
	store := storeOf(s)
	store.mu.Lock()
	store.journal.step = func(step string) {
		at := crash{step, filepath.Join(crashes, fmt.Sprint(len(all))), acknowledged.Load()}
		copyFiles(t, filepath.Join(dir, "redis"), filepath.Join(at.dir, "redis"))
		all = append(all, at)
	}
	store.mu.Unlock()
	for range 3 { // with no snapshot before, then with one
		have := acknowledged.Load()
		eventually(t, "writes go on", func() bool { return acknowledged.Load() > have+50 })
		if err := store.compact(); err != nil {
			t.Fatal(err)
		}
	}
	close(stopped)
	writer.Wait()
	want := contents(t, c)
	stop(t, s)

	if len(all) < 3*8 {
		t.Fatalf("only %d steps: %v", len(all), all)
	}
	for _, crash := range all {
		s := start(t, crash.dir, InProcess)
		got := contents(t, connect(t, s.URL()))
		for i := range crash.keys {
			if got[fmt.Sprint("live:", i+1)] == "" {
				t.Fatalf("a crash at %q lost %d of %d", crash.step, i+1, crash.keys)
			}
		}
		for key, value := range want {
			if !strings.HasPrefix(key, "live:") && got[key] != value {
				t.Fatalf("a crash at %q: %s is %s", crash.step, key, got[key])
			}
		}
		stop(t, s)
	}
	s = start(t, dir, InProcess)
	same(t, "without a crash", contents(t, connect(t, s.URL())), want)
}

// A store of any size is compacted while it is written to, and what is written meanwhile is kept.
func TestP1WritesGoOnDuringCompaction(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, InProcess)
	c := connect(t, s.URL())
	ctx := t.Context()
	fill(t, c)
	store := storeOf(s)
	written := 0
	store.mu.Lock()
	store.journal.step = func(step string) {
		if strings.HasPrefix(step, "new journal") {
			return // the new file is begun between two writes
		}
		for range 200 { // more than is caught up with in one go
			written++
			key := fmt.Sprint("meanwhile:", written)
			if err := c.Set(ctx, key, strings.Repeat("x", 500), time.Hour).Err(); err != nil {
				t.Errorf("at %q: %v", step, err)
			}
		}
		c.Del(ctx, fmt.Sprint("meanwhile:", written))
		c.Incr(ctx, "counted")
	}
	store.mu.Unlock()
	for range 2 {
		if err := store.compact(); err != nil {
			t.Fatal(err)
		}
	}
	want := contents(t, c)
	if want["meanwhile:1"] == "" || want["text"] == "" {
		t.Error("compaction lost something")
	}
	stop(t, s)
	s = start(t, dir, InProcess)
	same(t, "after a restart", contents(t, connect(t, s.URL())), want)
}

// A journal that can no longer be read, while all is well in memory, is written afresh.
func TestP1JournalLostWhileRunning(t *testing.T) {
	for name, ruin := range map[string]func(path string) error{
		"removed": os.Remove,
		"damaged": func(path string) error { return os.WriteFile(path, []byte("something else altogether"), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := start(t, dir, InProcess)
			c := connect(t, s.URL())
			fill(t, c)
			if err := ruin(storeOf(s).journal.path("journal", 1)); err != nil {
				t.Fatal(err)
			}
			if err := storeOf(s).compact(); err == nil {
				t.Error("it was compacted")
			}
			eventually(t, "writes are accepted", func() bool { return c.Set(t.Context(), "k", "v", 0).Err() == nil })
			want := contents(t, c)
			stop(t, s)
			s = start(t, dir, InProcess)
			same(t, "after a restart", contents(t, connect(t, s.URL())), want)
		})
	}
}

func TestCompactionFollowsTheState(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, InProcess)
	c := connect(t, s.URL())
	ctx := t.Context()
	script := redis.NewScript("return redis.call('INCR', KEYS[1])")
	script.Load(ctx, c)
	value := strings.Repeat("x", 10_000)
	for range 200 {
		if _, err := c.Pipelined(ctx, func(p redis.Pipeliner) error { p.Set(ctx, "k", value, 0); return p.Set(ctx, "gone", value, 0).Err() }); err != nil {
			t.Fatal(err)
		}
	}
	c.Del(ctx, "gone")
	want := contents(t, c)
	stop(t, s)
	if size := sizeOf(t, dir); size < 4_000_000 {
		t.Fatalf("%d bytes", size)
	}

	// It is large enough to be compacted at the start.
	s = start(t, dir, InProcess)
	c = connect(t, s.URL())
	eventually(t, "the journal is compacted", func() bool { return sizeOf(t, dir) < 20_000 && !storeOf(s).compacting.Load() })
	same(t, "compacted", contents(t, c), want)

	script.Load(ctx, c)
	watched := func(between func()) error {
		return c.Watch(ctx, func(tx *redis.Tx) error {
			between()
			_, err := tx.TxPipelined(ctx, func(p redis.Pipeliner) error { return p.Set(ctx, "w", 1, 0).Err() })
			return err
		}, "k")
	}
	if err := watched(func() { storeOf(s).compact() }); !errors.Is(err, redis.TxFailedErr) {
		t.Errorf("a watch over a compaction: %v", err)
	}
	if err := watched(func() {}); err != nil {
		t.Error(err)
	}
	if err := script.EvalSha(ctx, c, []string{"n"}).Err(); err != nil {
		t.Errorf("a script over a compaction: %v", err)
	}
	want = contents(t, c)
	stop(t, s)
	s = start(t, dir, InProcess)
	same(t, "compacted and reopened", contents(t, connect(t, s.URL())), want)
}

func sizeOf(t testing.TB, dir string) (size int64) {
	entries, err := os.ReadDir(filepath.Join(dir, "redis"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && e.Type().IsRegular() {
			size += info.Size()
		}
	}
	return size
}

// What only looks, or finds nothing to do, leaves no trace: idle workers must not fill the disk.
func TestIdleWritesNothing(t *testing.T) {
	s := start(t, t.TempDir(), InProcess)
	c := connect(t, s.URL())
	ctx := t.Context()
	j := storeOf(s).journal
	before := j.size
	c.Eval(ctx, "if redis.call('EXISTS', 'q') == 0 then return redis.call('RPOPLPUSH', 'q', 'active') end", nil)
	c.Do(ctx, "RPOPLPUSH", "q", "active")
	c.Del(ctx, "none")
	c.Expire(ctx, "none", time.Hour)
	c.Get(ctx, "none")
	c.ZRemRangeByScore(ctx, "none", "-inf", "+inf")
	storeOf(s).mu.RLock()
	defer storeOf(s).mu.RUnlock()
	if j.size != before {
		t.Errorf("%d bytes were journalled", j.size-before)
	}
}

// faulty is on a disk that can be full, or fail to sync.
type faulty struct {
	segment
	disk *disk
}

type disk struct{ full, unsynced atomic.Bool }

func (f faulty) Write(p []byte) (int, error) {
	if f.disk.full.Load() {
		f.segment.Write(p) // the worst case: the error comes though all is there
		return 0, syscall.ENOSPC
	}
	return f.segment.Write(p)
}

func (f faulty) Sync() error {
	if f.disk.unsynced.Load() {
		return syscall.EIO
	}
	return f.segment.Sync()
}

func TestP1DiskFull(t *testing.T) {
	for name, set := range map[string]func(*disk, bool){
		"full":     func(d *disk, on bool) { d.full.Store(on) },
		"unsynced": func(d *disk, on bool) { d.unsynced.Store(on) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := start(t, dir, InProcess)
			c := connect(t, s.URL())
			ctx := t.Context()
			var d disk
			store := storeOf(s)
			store.mu.Lock()
			store.journal.syncing.Lock()
			store.journal.file = faulty{store.journal.file, &d}
			store.journal.create = func(path string) (segment, error) {
				f, err := createSegment(path)
				return faulty{f, &d}, err
			}
			store.journal.syncing.Unlock()
			store.mu.Unlock()

			fill(t, c)
			set(&d, true)
			accepted, script := 0, redis.NewScript("redis.call('SET', KEYS[1], 1) return redis.call('SET', KEYS[2], 1)")
			eventually(t, "writes are refused", func() bool {
				err := c.Set(ctx, fmt.Sprint("n", accepted), 1, 0).Err()
				if err == nil {
					accepted++
				} else if !strings.Contains(err.Error(), "MISCONF") {
					t.Fatal(err)
				}
				return err != nil
			})
			if err := script.Run(ctx, c, []string{"a", "b"}).Err(); err == nil || !strings.Contains(err.Error(), "MISCONF") {
				t.Error(err)
			}
			if _, err := c.TxPipelined(ctx, func(p redis.Pipeliner) error { return p.Set(ctx, "c", 1, 0).Err() }); err == nil {
				t.Error("a transaction was accepted")
			}
			if err := c.Get(ctx, "text").Err(); err != nil {
				t.Error("reading:", err)
			}
			if err := c.Ping(ctx).Err(); err == nil || !strings.Contains(err.Error(), "MISCONF") {
				t.Error("PING says all is well:", err)
			}
			if url, ok := Running(dir); !ok || url != s.URL() {
				t.Error("one that refuses writes runs, and operators must find it")
			}
			if !strings.Contains(c.Info(ctx, "persistence").Val(), "aof_last_write_status:err") {
				t.Error("INFO says all is well")
			}
			check := func(when, from string) (found map[string]string) {
				crashed := t.TempDir()
				copyFiles(t, filepath.Join(from, "redis"), filepath.Join(crashed, "redis"))
				other := start(t, crashed, InProcess)
				got := contents(t, connect(t, other.URL()))
				for i := range accepted {
					if got[fmt.Sprint("n", i)] == "" {
						t.Errorf("%s: n%d of %d was lost", when, i, accepted)
					}
				}
				if got["a"] != "" || got["b"] != "" || got["c"] != "" {
					t.Errorf("%s: what was refused is there", when)
				}
				return got
			}
			if check("while the disk fails", dir)[fmt.Sprint("n", accepted)] != "" {
				t.Error("what could not be journalled is there after a crash")
			}
			set(&d, false)
			eventually(t, "writes are accepted again", func() bool { return c.Set(ctx, fmt.Sprint("n", accepted), 1, 0).Err() == nil })
			accepted++
			check("afterwards", dir)
			want := contents(t, c)
			stop(t, s)
			s = start(t, dir, InProcess)
			same(t, "afterwards", contents(t, connect(t, s.URL())), want)
		})
	}
}

// What the journal could not follow is refused.
func TestNotOffered(t *testing.T) {
	s := start(t, t.TempDir(), InProcess)
	c := connect(t, s.URL())
	ctx := t.Context()
	for _, args := range [][]any{
		{"SPOP", "s"}, {"BLPOP", "l", 0}, {"XADD", "x", "*", "a", "b"}, {"PFADD", "h", "a"}, {"SWAPDB", 0, 1}, {"SELECT", 1},
		{"CONFIG", "SET", "appendonly", "no"}, {"PSUBSCRIBE", "*"}, {"NOSUCH"}, {"EVAL", "return redis.call('SPOP', 's')", 0},
		{"EVAL", "return redis.call('EVAL', 'return 1', 0)", 0}, {"EVAL", "return redis.call('MULTI')", 0},
	} {
		if err := c.Do(ctx, args...).Err(); err == nil || errors.Is(err, redis.Nil) {
			t.Error("accepted", args)
		}
	}
	if n := c.DBSize(ctx).Val(); n != 0 {
		t.Errorf("%d keys were made", n)
	}
}

// A client that does not read what it asked for holds up nobody else, nor does a listener that does not listen.
func TestSlowClients(t *testing.T) {
	s := start(t, t.TempDir(), InProcess)
	c := connect(t, s.URL())
	ctx := t.Context()
	c.Set(ctx, "big", strings.Repeat("x", 1<<20), 0)
	mute, err := c.Options().Dialer(ctx, "unix", c.Options().Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	for range 50 {
		fmt.Fprintf(mute, "*2\r\n$3\r\nGET\r\n$3\r\nbig\r\n")
	}
	deaf, err := c.Options().Dialer(ctx, "unix", c.Options().Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	fmt.Fprintf(deaf, "*2\r\n$9\r\nSUBSCRIBE\r\n$4\r\nbell\r\n")
	eventually(t, "it listens", func() bool { return c.Publish(ctx, "bell", "x").Val() == 1 })
	message := strings.Repeat("x", 10_000)
	eventually(t, "it is disconnected", func() bool {
		c.Pipelined(ctx, func(p redis.Pipeliner) error {
			for range 200 {
				p.Publish(ctx, "bell", message)
			}
			return nil
		})
		return c.Publish(ctx, "bell", "x").Val() == 0
	})
	if err := c.Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Error(err)
	}
}
