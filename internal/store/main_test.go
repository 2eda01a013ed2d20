package store_test

import (
	"context"
	"log/slog"
	"os"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/leadrelay/leadrelay/internal/embedded"
	"github.com/leadrelay/leadrelay/internal/redistest"
	"github.com/leadrelay/leadrelay/internal/store"
)

func TestMain(m *testing.M) { os.Exit(redistest.Main(m)) }

// server is a Redis, and any number of processes on it.
type server struct {
	t       *testing.T
	options *redis.UniversalOptions
	client  redis.UniversalClient
}

// onEach runs a test on a real Redis, and on the store that `leadrelay up` brings where there is none.
func onEach(t *testing.T, test func(s *server)) {
	t.Run("redis-server", func(t *testing.T) {
		t.Parallel()
		r := redistest.Start(t)
		test(&server{t, r.Options(), r.Client})
	})
	t.Run("in-process", func(t *testing.T) {
		t.Parallel()
		e, err := embedded.Start(t.Context(), embedded.Options{Dir: t.TempDir(), Engine: embedded.InProcess})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { e.Close(context.Background()) })
		parsed, err := redis.ParseURL(e.URL())
		if err != nil {
			t.Fatal(err)
		}
		options := &redis.UniversalOptions{Addrs: []string{parsed.Addr}, Username: parsed.Username, Password: parsed.Password}
		client := redis.NewUniversalClient(options)
		t.Cleanup(func() { client.Close() })
		test(&server{t, options, client})
	})
}

// process is the store as one more process has it.
func (s *server) process(hooks ...redis.Hook) *store.Store {
	s.t.Helper()
	client := store.Connect(s.options)
	for _, hook := range hooks {
		client.AddHook(hook)
	}
	p, err := store.New(s.t.Context(), client, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		p.Close()
		client.Close()
	})
	return p
}

// keys lists the keys that match a pattern.
func (s *server) keys(pattern string) (all []string) {
	s.t.Helper()
	err := redistest.EachMaster(s.client, func(ctx context.Context, c *redis.Client) error {
		keys, err := c.Keys(ctx, pattern).Result()
		all = append(all, keys...)
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return all
}
