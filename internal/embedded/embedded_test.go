package embedded

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("EMBEDDED_TEST_DIR"); dir != "" {
		writeUntilKilled(dir, os.Getenv("EMBEDDED_TEST_ENGINE"))
		return
	}
	os.Exit(m.Run())
}

// onEach runs a test on each engine.
func onEach(t *testing.T, test func(t *testing.T, engine string)) {
	t.Run(InProcess, func(t *testing.T) { test(t, InProcess) })
	t.Run(RedisServer, func(t *testing.T) {
		needRedisServer(t)
		test(t, RedisServer)
	})
}

func needRedisServer(t testing.TB) *program {
	t.Helper()
	p, err := findRedisServer(t.Context())
	if err == nil {
		return p
	}
	if os.Getenv("LEADRELAY_NO_SKIP") == "1" {
		t.Fatalf("%v (apt-get install redis-server)", err)
	}
	t.Skipf("%v (apt-get install redis-server)", err)
	return nil
}

func start(t testing.TB, dir, engine string) *Server {
	t.Helper()
	s, err := Start(t.Context(), Options{Dir: dir, Engine: engine})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.Background()) })
	return s
}

func stop(t testing.TB, s *Server) {
	t.Helper()
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func connect(t testing.TB, url string) *redis.Client {
	t.Helper()
	opts, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(opts)
	t.Cleanup(func() { c.Close() })
	return c
}

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within a minute", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// contents tells everything a store holds.
func contents(t testing.TB, c *redis.Client) map[string]string {
	t.Helper()
	ctx := t.Context()
	keys := c.Keys(ctx, "*").Val()
	ask := func(command func(p redis.Pipeliner, i int) redis.Cmder) []redis.Cmder {
		p := c.Pipeline()
		for i := range keys {
			command(p, i)
		}
		answers, err := p.Exec(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return answers
	}
	kinds := ask(func(p redis.Pipeliner, i int) redis.Cmder { return p.Type(ctx, keys[i]) })
	deadlines := ask(func(p redis.Pipeliner, i int) redis.Cmder { return p.Do(ctx, "PEXPIRETIME", keys[i]) })
	values := ask(func(p redis.Pipeliner, i int) redis.Cmder {
		switch kinds[i].(*redis.StatusCmd).Val() {
		case "string":
			return p.Get(ctx, keys[i])
		case "hash":
			return p.HGetAll(ctx, keys[i])
		case "list":
			return p.LRange(ctx, keys[i], 0, -1)
		case "set":
			return p.SMembersMap(ctx, keys[i])
		default:
			return p.ZRangeWithScores(ctx, keys[i], 0, -1)
		}
	})
	all := map[string]string{}
	for i, key := range keys {
		var value any // fmt sorts maps
		switch v := values[i].(type) {
		case *redis.StringCmd:
			value = v.Val()
		case *redis.MapStringStringCmd:
			value = v.Val()
		case *redis.StringSliceCmd:
			value = v.Val()
		case *redis.StringStructMapCmd:
			value = v.Val()
		case *redis.ZSliceCmd:
			value = v.Val()
		}
		all[key] = fmt.Sprintf("%T %q until %d", value, fmt.Sprint(value), deadlines[i].(*redis.Cmd).Val())
	}
	return all
}

func same(t testing.TB, what string, got, want map[string]string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d keys, want %d", what, len(got), len(want))
	}
	for key := range want {
		if got[key] != want[key] {
			t.Fatalf("%s: %s is %s, want %s", what, key, got[key], want[key])
		}
	}
}

func fill(t testing.TB, c *redis.Client) {
	t.Helper()
	_, err := c.Pipelined(t.Context(), func(p redis.Pipeliner) error {
		ctx := t.Context()
		p.Set(ctx, "text", "a\r\nb\x00c\xff", 0)
		p.Set(ctx, "", "empty name", 0)
		p.Set(ctx, "kept", "x", time.Hour)
		p.HSet(ctx, "hash", "one", "1", "", "empty field", "two", "")
		for i := range 600 {
			p.HSet(ctx, "big hash", fmt.Sprint("f", i), i)
			p.ZAdd(ctx, "big zset", redis.Z{Score: float64(i) / 3, Member: fmt.Sprint("m", i)})
			p.RPush(ctx, "big list", i)
			p.SAdd(ctx, "big set", i)
		}
		p.ZAdd(ctx, "zset", redis.Z{Score: 1e17 + 1, Member: "a"}, redis.Z{Score: -0.1, Member: "b"})
		p.LTrim(ctx, "big list", 10, 500)
		p.SRem(ctx, "big set", 1, 2, 3)
		p.IncrByFloat(ctx, "float", 0.1)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestP1KeptOverClose(t *testing.T) {
	onEach(t, func(t *testing.T, engine string) {
		dir := t.TempDir()
		s := start(t, dir, engine)
		c := connect(t, s.URL())
		fill(t, c)
		want := contents(t, c)
		if len(want) < 10 {
			t.Fatalf("only %d keys", len(want))
		}
		stop(t, s)
		select {
		case <-s.Done():
		default:
			t.Error("not done after Close")
		}
		if err := s.Err(); err != nil {
			t.Error(err)
		}

		s = start(t, dir, "") // what is there decides
		if s.Engine() != engine {
			t.Errorf("went on with %s", s.Engine())
		}
		c = connect(t, s.URL())
		same(t, "after a restart", contents(t, c), want)
		if !strings.Contains(s.Description(), filepath.Join(dir, "redis")) || s.Persistence() == "" {
			t.Error(s.Description(), s.Persistence())
		}
		for setting, want := range map[string]string{"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction"} {
			if got := c.ConfigGet(t.Context(), setting).Val()[setting]; got != want {
				t.Errorf("%s is %q, want %q", setting, got, want)
			}
		}
	})
}

// writeUntilKilled is the process that TestP1KeptOverKill kills.
func writeUntilKilled(dir, engine string) {
	ctx := context.Background()
	s, err := Start(ctx, Options{Dir: dir, Engine: engine})
	if err != nil {
		fmt.Println("error", err)
		return
	}
	opts, err := redis.ParseURL(s.URL())
	if err != nil {
		fmt.Println("error", err)
		return
	}
	c := redis.NewClient(opts)
	script := redis.NewScript(`redis.call('SET', 'script:' .. ARGV[1], ARGV[1]) redis.call('RPUSH', 'list', ARGV[1]) return 1`)
	for i := 0; ; i++ {
		n := fmt.Sprint(i)
		if err := c.Set(ctx, "plain:"+n, n, 0).Err(); err != nil {
			fmt.Println("error", err)
		}
		if err := script.Run(ctx, c, []string{"list"}, n).Err(); err != nil {
			fmt.Println("error", err)
		}
		if _, err := c.TxPipelined(ctx, func(p redis.Pipeliner) error {
			p.Set(ctx, "tx:"+n, n, 0)
			p.Set(ctx, "expiring:"+n, n, time.Hour)
			return nil
		}); err != nil {
			fmt.Println("error", err)
		}
		fmt.Println(n)
	}
}

func TestP1KeptOverKill(t *testing.T) {
	onEach(t, func(t *testing.T, engine string) {
		dir, most := t.TempDir(), 0
		for range 3 {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), "EMBEDDED_TEST_DIR="+dir, "EMBEDDED_TEST_ENGINE="+engine)
			cmd.Stderr = os.Stderr
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines, acknowledged := bufio.NewScanner(out), -1
			for lines.Scan() {
				if _, err := fmt.Sscan(lines.Text(), &acknowledged); err != nil {
					cmd.Process.Kill()
					t.Fatal(lines.Text())
				}
				if acknowledged == 300 {
					cmd.Process.Kill()
				}
			}
			cmd.Wait()
			if acknowledged < 300 {
				t.Fatalf("ended at %d", acknowledged)
			}

			s := start(t, dir, engine)
			c := connect(t, s.URL())
			ctx := t.Context()
			list := c.LRange(ctx, "list", 0, -1).Val()
			seen := map[string]bool{}
			for _, n := range list {
				seen[n] = true
				if c.Exists(ctx, "script:"+n).Val() != 1 {
					t.Errorf("half of script %s was done", n)
				}
			}
			for i := range max(most, acknowledged) + 1 {
				n := fmt.Sprint(i)
				if got := c.Exists(ctx, "plain:"+n, "script:"+n, "tx:"+n, "expiring:"+n).Val(); got != 4 || !seen[n] {
					t.Fatalf("of %d acknowledged, %d was lost", acknowledged, i)
				}
			}
			most = max(most, acknowledged)
			stop(t, s)
		}
	})
}

func TestAsynq(t *testing.T) {
	onEach(t, func(t *testing.T, engine string) {
		dir := t.TempDir()
		s := start(t, dir, engine)
		c := connect(t, s.URL())
		client := asynq.NewClientFromRedisClient(c)
		const tasks = 30
		for i := range tasks {
			opts := []asynq.Option{asynq.Queue("crm"), asynq.Retention(time.Hour)}
			if i%3 == 1 {
				opts = append(opts, asynq.ProcessIn(100*time.Millisecond))
			}
			if i%3 == 2 {
				opts = append(opts, asynq.Unique(time.Hour))
			}
			if _, err := client.Enqueue(asynq.NewTask("sync", fmt.Append(nil, i)), opts...); err != nil {
				t.Fatal(err)
			}
		}
		_, err := client.Enqueue(asynq.NewTask("sync", []byte("2")), asynq.Queue("crm"), asynq.Unique(time.Hour))
		if !errors.Is(err, asynq.ErrDuplicateTask) {
			t.Errorf("a second unique task: %v", err)
		}

		// What was enqueued is worked off after a restart.
		stop(t, s)
		s = start(t, dir, engine)
		c = connect(t, s.URL())
		server := asynq.NewServerFromRedisClient(c, asynq.Config{
			Queues: map[string]int{"crm": 1}, LogLevel: asynq.FatalLevel,
			TaskCheckInterval: 10 * time.Millisecond, DelayedTaskCheckInterval: 10 * time.Millisecond,
			RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return 0 },
		})
		done := make(chan string, tasks)
		if err := server.Start(asynq.HandlerFunc(func(ctx context.Context, task *asynq.Task) error {
			if retried, _ := asynq.GetRetryCount(ctx); retried == 0 && string(task.Payload()) == "0" {
				return errors.New("try again")
			}
			done <- string(task.Payload())
			return nil
		})); err != nil {
			t.Fatal(err)
		}
		var got []string
		for range tasks {
			select {
			case p := <-done:
				got = append(got, p)
			case <-time.After(30 * time.Second):
				t.Fatalf("only %d tasks came", len(got))
			}
		}
		server.Shutdown()
		slices.Sort(got)
		if len(slices.Compact(got)) != tasks {
			t.Errorf("some came twice: %v", got)
		}
		inspector := asynq.NewInspectorFromRedisClient(c)
		info, err := inspector.GetQueueInfo("crm")
		if err != nil || info.Completed != tasks || info.Failed != 1 || info.Size != tasks {
			t.Errorf("queue: %+v, %v", info, err)
		}
		if n, err := inspector.DeleteAllCompletedTasks("crm"); err != nil || n != tasks {
			t.Errorf("deleted %d: %v", n, err)
		}
	})
}

func TestClient(t *testing.T) {
	onEach(t, func(t *testing.T, engine string) {
		s := start(t, t.TempDir(), engine)
		c := connect(t, s.URL())
		ctx := t.Context()

		t.Run("pipeline", func(t *testing.T) {
			const n = 5000 // more than any buffer holds
			cmds, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
				for range n {
					p.Incr(ctx, "counter")
				}
				p.Get(ctx, "counter")
				return nil
			})
			if err != nil || cmds[n].(*redis.StringCmd).Val() != fmt.Sprint(n) {
				t.Error(cmds[n], err)
			}
		})
		t.Run("script", func(t *testing.T) {
			script := redis.NewScript(`
				local t = redis.call('TIME')
				redis.call('SET', KEYS[1], t[1])
				redis.call('EXPIRE', KEYS[1], 100)
				redis.call('HSET', KEYS[2], 'a', ARGV[1])
				return {redis.call('TTL', KEYS[1]), redis.call('HGET', KEYS[2], 'a')}`)
			for range 2 {
				got, err := script.Run(ctx, c, []string{"s1", "s2"}, "x").Slice()
				if err != nil || got[0] != int64(100) || got[1] != "x" {
					t.Error(got, err)
				}
			}
			now := time.Now().Unix()
			if at, err := c.Get(ctx, "s1").Int64(); err != nil || at < now-60 || at > now+60 {
				t.Error(at, err)
			}
			if err := c.Eval(ctx, "redis.call('SET', 'half', 1) return redis.call('HGET', 'half', 'x')", nil).Err(); err == nil {
				t.Error("a script's error was lost")
			}
			if c.Get(ctx, "half").Val() != "1" {
				t.Error("what a script does before it fails stays, as in Redis")
			}
		})
		t.Run("transaction", func(t *testing.T) {
			cmds, err := c.TxPipelined(ctx, func(p redis.Pipeliner) error {
				p.Set(ctx, "t", "1", 0)
				p.Incr(ctx, "t")
				p.Get(ctx, "t")
				return nil
			})
			if err != nil || cmds[2].(*redis.StringCmd).Val() != "2" {
				t.Error(cmds, err)
			}
			add := func(disturb bool) error {
				return c.Watch(ctx, func(tx *redis.Tx) error {
					if disturb {
						c.Incr(ctx, "t")
					}
					_, err := tx.TxPipelined(ctx, func(p redis.Pipeliner) error { return p.Incr(ctx, "t").Err() })
					return err
				}, "t")
			}
			if err := add(false); err != nil {
				t.Error(err)
			}
			if err := add(true); !errors.Is(err, redis.TxFailedErr) {
				t.Error(err)
			}
			if got := c.Get(ctx, "t").Val(); got != "4" {
				t.Error(got)
			}
		})
		t.Run("subscription", func(t *testing.T) {
			sub := c.Subscribe(ctx, "bell")
			defer sub.Close()
			if _, err := sub.Receive(ctx); err != nil {
				t.Fatal(err)
			}
			if n := c.Publish(ctx, "bell", "one").Val(); n != 1 {
				t.Error(n, "listeners")
			}
			c.Eval(ctx, "return redis.call('PUBLISH', 'bell', 'two')", nil)
			c.TxPipelined(ctx, func(p redis.Pipeliner) error { return p.Publish(ctx, "bell", "three").Err() })
			for _, want := range []string{"one", "two", "three"} {
				m, err := sub.ReceiveMessage(ctx)
				if err != nil || m.Payload != want {
					t.Fatal(m, err)
				}
			}
			if err := sub.Ping(ctx); err != nil {
				t.Error(err)
			}
			if m, err := sub.Receive(ctx); err != nil {
				t.Error(m, err)
			}
			sub.Close()
			eventually(t, "the subscription ends", func() bool { return c.Publish(ctx, "bell", "x").Val() == 0 })
		})
		t.Run("RESP2", func(t *testing.T) {
			opts := *c.Options()
			opts.Protocol = 2
			old := redis.NewClient(&opts)
			defer old.Close()
			sub := old.Subscribe(ctx, "bell")
			defer sub.Close()
			if _, err := sub.Receive(ctx); err != nil {
				t.Fatal(err)
			}
			old.HSet(ctx, "r2", "a", "b")
			if got := old.HGetAll(ctx, "r2").Val(); got["a"] != "b" {
				t.Error(got)
			}
			old.Publish(ctx, "bell", "one")
			if m, err := sub.ReceiveMessage(ctx); err != nil || m.Payload != "one" {
				t.Error(m, err)
			}
			if err := sub.Ping(ctx); err != nil {
				t.Error(err)
			}
			if _, err := sub.Receive(ctx); err != nil {
				t.Error(err)
			}
		})
	})
}

func TestExpiry(t *testing.T) {
	onEach(t, func(t *testing.T, engine string) {
		dir := t.TempDir()
		s := start(t, dir, engine)
		c := connect(t, s.URL())
		ctx := t.Context()
		began := time.Now()
		hours := map[string]func(key string) redis.Cmder{
			"SET EX":    func(k string) redis.Cmder { return c.Do(ctx, "set", k, 1, "ex", 3600) },
			"SET PX":    func(k string) redis.Cmder { return c.Do(ctx, "SET", k, 1, "NX", "PX", 3600000) },
			"SET PXAT":  func(k string) redis.Cmder { return c.Do(ctx, "SET", k, 1, "PXAT", began.Add(time.Hour).UnixMilli()) },
			"SETEX":     func(k string) redis.Cmder { return c.Do(ctx, "SETEX", k, 3600, 1) },
			"PSETEX":    func(k string) redis.Cmder { return c.Do(ctx, "PSETEX", k, 3600000, 1) },
			"EXPIRE":    func(k string) redis.Cmder { c.Set(ctx, k, 1, 0); return c.Do(ctx, "EXPIRE", k, 3600) },
			"PEXPIRE":   func(k string) redis.Cmder { c.Set(ctx, k, 1, 0); return c.Do(ctx, "PEXPIRE", k, 3600000) },
			"EXPIREAT":  func(k string) redis.Cmder { c.Set(ctx, k, 1, 0); return c.ExpireAt(ctx, k, began.Add(time.Hour)) },
			"PEXPIREAT": func(k string) redis.Cmder { c.Set(ctx, k, 1, 0); return c.PExpireAt(ctx, k, began.Add(time.Hour)) },
			"GETEX":     func(k string) redis.Cmder { c.Set(ctx, k, 1, 0); return c.GetEx(ctx, k, time.Hour) },
			"KEEPTTL":   func(k string) redis.Cmder { c.Set(ctx, k, 1, time.Hour); return c.Set(ctx, k, 2, redis.KeepTTL) },
			"RENAME":    func(k string) redis.Cmder { c.Set(ctx, k+"0", 1, time.Hour); return c.Rename(ctx, k+"0", k) },
			"script": func(k string) redis.Cmder {
				return c.Eval(ctx, "redis.call('SET', KEYS[1], 1) return redis.call('EXPIRE', KEYS[1], 3600)", []string{k})
			},
		}
		for name, set := range hours {
			if err := set(name).Err(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		check := func(when string) {
			for name := range hours {
				got, taken := c.PTTL(ctx, name).Val(), time.Since(began)
				if got > time.Hour || got < time.Hour-taken-1100*time.Millisecond { // EXPIREAT is in whole seconds
					t.Errorf("%s: %s has %v left after %v", when, name, got, taken)
				}
			}
		}
		check("at once")

		_, err := c.TxPipelined(ctx, func(p redis.Pipeliner) error { // in one go, before their time is over
			p.Set(ctx, "prolonged", 1, 200*time.Millisecond)
			p.Expire(ctx, "prolonged", time.Hour)
			p.Set(ctx, "persisted", 1, 200*time.Millisecond)
			p.Persist(ctx, "persisted")
			p.Set(ctx, "short", 1, 200*time.Millisecond)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		c.Set(ctx, "past", 1, 0)
		c.ExpireAt(ctx, "past", began.Add(-time.Hour))
		if c.Exists(ctx, "past").Val() != 0 {
			t.Error("a key whose time is over is there")
		}
		eventually(t, "a key expires", func() bool { return c.Exists(ctx, "short").Val() == 0 })
		if n := c.Exists(ctx, "prolonged", "persisted").Val(); n != 2 {
			t.Error("a key expired before its time")
		}
		if c.TTL(ctx, "persisted").Val() != -1 || c.TTL(ctx, "none").Val() != -2 {
			t.Error("TTL of a key that stays, or is not there")
		}
		for _, bad := range [][]any{{"SET", "k", 1, "EX", 0}, {"SET", "k", 1, "EX", -1}, {"SETEX", "k", 0, 1}, {"EXPIRE", "short", "x"}, {"SET", "k", 1, "EX", 1, "PX", 1}} {
			if c.Do(ctx, bad...).Err() == nil {
				t.Error("accepted", bad)
			}
		}

		c.Set(ctx, "while away", 1, 20*time.Millisecond)
		stop(t, s)
		<-time.After(20 * time.Millisecond)
		s = start(t, dir, engine)
		c = connect(t, s.URL())
		check("after a restart")
		if c.Exists(ctx, "while away").Val() != 0 {
			t.Error("a key outlived its time over a restart")
		}
		if n := c.Exists(ctx, "prolonged", "persisted").Val(); n != 2 {
			t.Error("a key was lost")
		}
	})
}

func TestOneAtATime(t *testing.T) {
	onEach(t, func(t *testing.T, engine string) {
		dir := t.TempDir()
		if url, ok := Running(dir); ok {
			t.Error("runs already:", url)
		}
		s := start(t, dir, engine)
		connect(t, s.URL()).Set(t.Context(), "k", "v", 0)
		_, err := Start(t.Context(), Options{Dir: dir, Engine: engine})
		if !errors.Is(err, ErrInUse) {
			t.Errorf("a second one: %v", err)
		}
		url, ok := Running(dir)
		if !ok || url != s.URL() || connect(t, url).Get(t.Context(), "k").Val() != "v" {
			t.Error("the refused one disturbed the first:", url, ok)
		}
		stop(t, s)
		if _, ok := Running(dir); ok {
			t.Error("runs still")
		}
	})
}

func TestDeepDirectory(t *testing.T) {
	onEach(t, func(t *testing.T, engine string) {
		dir := filepath.Join(t.TempDir(), strings.Repeat("a deep folder/", 10))
		for range 2 {
			s := start(t, dir, engine)
			c := connect(t, s.URL())
			if err := c.Incr(t.Context(), "k").Err(); err != nil {
				t.Fatal(err)
			}
			path := c.Options().Addr
			if info, err := os.Stat(filepath.Dir(path)); err != nil || info.Mode().Perm() != 0o700 {
				t.Error("the socket's folder:", info.Mode(), err)
			}
			if url, ok := Running(dir); !ok || url != s.URL() {
				t.Error("not found:", url)
			}
			stop(t, s)
			if _, err := os.Stat(filepath.Dir(path)); !errors.Is(err, os.ErrNotExist) {
				t.Error("the socket's folder stayed behind:", err)
			}
		}
	})
}

func TestStaleSocket(t *testing.T) {
	onEach(t, func(t *testing.T, engine string) {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "redis"), 0o755); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "redis", "redis.sock")
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		l.Close()
		if err := os.WriteFile(filepath.Join(dir, "redis", "address"), []byte(path), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, ok := Running(dir); ok {
			t.Error("a dead socket answers")
		}
		s := start(t, dir, engine)
		if err := connect(t, s.URL()).Ping(t.Context()).Err(); err != nil {
			t.Error(err)
		}
		if info, _ := os.Stat(filepath.Join(dir, "redis")); info.Mode().Perm() != 0o700 {
			t.Error("others can read", info.Mode())
		}
	})
}

func TestChoice(t *testing.T) {
	ctx := t.Context()
	if _, err := Start(ctx, Options{Dir: t.TempDir(), Engine: "sqlite"}); err == nil {
		t.Error("an unknown engine was taken")
	}

	dir := t.TempDir()
	stop(t, start(t, dir, InProcess))
	_, err := Start(ctx, Options{Dir: dir, Engine: RedisServer})
	if err == nil || !strings.Contains(err.Error(), "in-process") {
		t.Errorf("an empty redis-server beside the journal: %v", err)
	}

	t.Run("without redis-server", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		s := start(t, t.TempDir(), "")
		if s.Engine() != InProcess {
			t.Error(s.Engine())
		}
		dir := t.TempDir()
		os.MkdirAll(filepath.Join(dir, "redis", "appendonlydir"), 0o700)
		if _, err := Start(ctx, Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "not installed") {
			t.Errorf("an empty store beside redis-server's data: %v", err)
		}
	})
	t.Run("with an old redis-server", func(t *testing.T) {
		bin := t.TempDir()
		os.WriteFile(filepath.Join(bin, "redis-server"), []byte("#!/bin/sh\necho Redis server v=6.0.16 sha=00000000:0\n"), 0o700)
		t.Setenv("PATH", bin)
		if s := start(t, t.TempDir(), ""); s.Engine() != InProcess {
			t.Error(s.Engine())
		}
		if _, err := Start(ctx, Options{Dir: t.TempDir(), Engine: RedisServer}); err == nil || !strings.Contains(err.Error(), "6.2") {
			t.Error(err)
		}
	})
	t.Run("with a redis-server older than the data", func(t *testing.T) {
		bin, dir := t.TempDir(), t.TempDir()
		os.WriteFile(filepath.Join(bin, "redis-server"), []byte("#!/bin/sh\necho Redis server v=6.2.14 sha=00000000:0\n"), 0o700)
		os.MkdirAll(filepath.Join(dir, "redis", "appendonlydir"), 0o700)
		t.Setenv("PATH", bin)
		if _, err := Start(ctx, Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "older than 7") {
			t.Errorf("an empty store beside data it cannot read: %v", err)
		}
	})
	t.Run("with redis-server", func(t *testing.T) {
		needRedisServer(t)
		dir := t.TempDir()
		s := start(t, dir, "")
		if s.Engine() != RedisServer {
			t.Error(s.Engine())
		}
		stop(t, s)
		if _, err := Start(ctx, Options{Dir: dir, Engine: InProcess}); err == nil {
			t.Error("an empty store beside redis-server's data")
		}
	})
}
